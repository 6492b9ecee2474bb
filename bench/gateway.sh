#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./dev bench gateway: how fast the gateway starts and takes heartbeats; see gateway.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/dev/lib.sh
build release gateway >&2
exec python3 bench/gateway.py "$@"
