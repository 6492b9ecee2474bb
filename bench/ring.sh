#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./dev bench ring: the hash ring beside libmemcached's ketama; see ring_bench.cc. The library is
# for this bench alone, so it is installed here and not by ./dev setup.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/dev/lib.sh
has_ketama() { [ -f /usr/include/libmemcached/memcached.h ]; }
if ! has_ketama; then
  say "installing libmemcached-dev, for the comparison"
  (apt update -q && apt install -y -q --no-install-recommends libmemcached-dev) >&2 ||
    say "libmemcached-dev cannot be installed: ketama is left out"
fi
# A build that was configured before looks for it again.
if has_ketama && grep -qs 'LIBMEMCACHED.*NOTFOUND' build/release/CMakeCache.txt; then
  cmake build/release >/dev/null
fi
build release ring_bench >&2
exec build/release/bin/ring_bench "$@"
