#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./dev bench meta: small durable puts and gets; see meta.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/dev/lib.sh
build release shardctl master ballast meta_bench >&2
exec python3 bench/meta.py "$@"
