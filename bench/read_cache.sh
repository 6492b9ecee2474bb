#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./dev bench read_cache: what it brings that all clients prefer the same replica; see read_cache.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/dev/lib.sh
build release shardctl master chunkserver ballast read_cache_bench >&2
exec python3 bench/read_cache.py "$@"
