#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./dev bench heartbeats: what many chunk servers' heartbeats and large reports cost; see heartbeats.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/dev/lib.sh
build release shardctl master chunkserver ballast meta_bench heartbeats_bench replica_memory_bench >&2
exec python3 bench/heartbeats.py "$@"
