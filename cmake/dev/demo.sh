# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# ./dev demo: what Ballast does, on real processes in a scratch folder. Exits 0 only if every byte
# came back.

demo_put() {
  say "storing $1 as $2"
  "$BALLAST" put "$1" "$2"
}

# Reads every object back and compares it with the file it was made from.
demo_compare() {
  local file key
  while read -r file key; do
    "$BALLAST" get --quiet "$key" "$DEMO/back"
    cmp "$file" "$DEMO/back" || die "demo: $key came back different"
    rm -f "$DEMO/back"
  done <"$DEMO/stored"
  say "all $(wc -l <"$DEMO/stored") objects came back bit for bit"
}

# Until a chunk server is dead and every chunk has all its copies again.
demo_heal() {
  local seconds=0
  until "$BALLAST" servers | grep -q dead && "$BALLAST" fsck >/dev/null; do
    [ "$seconds" -lt 60 ] || die "demo: not healed within a minute"
    sleep 1
    seconds=$((seconds + 1))
  done
  "$BALLAST" status
}

# Until the empty server is in use and the others have given it its share.
demo_level() {
  local seconds=0
  until "$BALLAST" servers | grep "$(cluster address chunkserver5)" | grep -q alive; do
    [ "$seconds" -lt 30 ] || die "demo: the new chunk server is not in use after 30 s"
    sleep 1
    seconds=$((seconds + 1))
  done
  "$BALLAST" rebalance run
  "$BALLAST" rebalance check
  "$BALLAST" servers
  if "$BALLAST" rebalance check | grep -q underloaded; then
    die "demo: the new chunk server is still underloaded"
  fi
}

demo_end() {
  local code=$?
  stop_cluster >/dev/null 2>&1 || true
  if [ "$code" = 0 ]; then
    rm -rf "$DEMO"
  else
    say "the demo failed; logs are in $DEMO/cluster"
  fi
  exit "$code"
}

run_demo() {
  setup
  build release shardctl master chunkserver ballast
  BALLAST="$BALLAST_TOP/build/release/bin/ballast"
  DEMO="$(mktemp -d "${TMPDIR:-/tmp}/ballast-demo-XXXXXX")"
  # shellcheck disable=SC2034  # cluster.sh reads it
  CLUSTER_FOLDER="$DEMO/cluster"
  trap demo_end EXIT

  say "starting shardctl, a master and 4 chunk servers of 400 MiB each in $DEMO/cluster"
  start_cluster "$DEMO/cluster" --servers 4 --capacity 400MiB --any-ports
  "$BALLAST" servers

  : >"$DEMO/stored"
  head -c 100M /dev/urandom >"$DEMO/large.bin"
  local file key
  for file in README.md docs/ARCHITECTURE.md build/release/bin/master "$DEMO/large.bin"; do
    key="demo/$(basename "$file")"
    demo_put "$file" "$key"
    echo "$file $key" >>"$DEMO/stored"
  done
  say "storing 24 files of 8 MiB"
  local number
  for number in $(seq -w 24); do
    head -c 8M /dev/urandom >"$DEMO/photo$number"
    "$BALLAST" put --quiet "$DEMO/photo$number" "demo/photo$number"
    echo "$DEMO/photo$number demo/photo$number" >>"$DEMO/stored"
  done
  "$BALLAST" ls demo/ --long
  demo_compare

  say "killing a chunk server (kill -9) and reading everything without it"
  kill_process chunkserver1
  demo_compare

  say "waiting until it is dead (3 missed heartbeats) and what it held has been copied from the others"
  demo_heal
  say "killing the master (kill -9) and starting it again"
  kill_process master1
  start_process master1
  say "starting the chunk server again"
  start_process chunkserver1
  demo_compare

  say "adding an empty chunk server; the others give it its share, the coldest chunks first"
  add_server 5 >/dev/null
  demo_level
  demo_compare

  say "overwriting one object and removing another"
  demo_put docs/glossary.md demo/README.md
  "$BALLAST" get demo/README.md "$DEMO/back"
  cmp docs/glossary.md "$DEMO/back" || die "demo: the overwritten object came back different"
  "$BALLAST" rm demo/ARCHITECTURE.md
  "$BALLAST" status
  say "the demo is over: nothing was lost"
}
