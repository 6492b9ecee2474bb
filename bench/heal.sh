#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./dev bench heal: repair after a server's death; see heal.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/dev/lib.sh
build release shardctl master chunkserver ballast heal_bench >&2
exec python3 bench/heal.py "$@"
