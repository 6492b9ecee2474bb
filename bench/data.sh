#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./dev bench data: put and get of large files; see data.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/dev/lib.sh
build release shardctl master chunkserver ballast data_bench >&2
exec python3 bench/data.py "$@"
