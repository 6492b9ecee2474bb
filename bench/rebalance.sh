#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./dev bench rebalance: an empty server joins, with and without clients; see rebalance.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/dev/lib.sh
build release shardctl master chunkserver ballast heal_bench >&2
exec python3 bench/rebalance.py "$@"
