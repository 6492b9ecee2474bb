#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The image's entry point.
#
#   shardctl | master | chunkserver   formats the server's folder below /data if that is not done yet,
#                                     then runs the server; all flags come from the environment, under
#                                     the names that `--help` shows (docs/configuration.md)
#   anything else                     is run as it is: ballast ..., gateway ..., sh
#
# Safe to stop and repeat at any point: a folder counts as formatted only when it is whole.
#   BALLAST_JOIN=yes    a master joins its group to the cluster, once
set -eu

DATA="${BALLAST_DATA:-/data}"

say() { echo "entrypoint: $*" >&2; }
die() {
  say "$*"
  exit 1
}
formatted() { [ -e "$1/identity" ]; }

# The cluster's state as one line of JSON; waits until shardctl answers.
cluster_status() {
  tries=0
  until ballast --cluster "$1" --json --quiet --timeout 5s status; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || die "no shard controller answers at $1"
    sleep 1
  done
}

run_shardctl() {
  folder="$DATA/shardctl"
  if ! formatted "$folder"; then
    id=$(shardctl format --folder "$folder")
    say "formatted cluster $id"
  fi
  exec shardctl run --folder "$folder"
}

run_master() {
  folder="$DATA/master"
  cluster="${BALLAST_MASTER_SHARDCTL:?names the shard controller, HOST:PORT}"
  voters="${BALLAST_MASTER_VOTERS:?names the masters of the group, 1=HOST:PORT}"
  group="${BALLAST_MASTER_GROUP:-1}"
  addresses=$(echo "$voters" | tr ',' '\n' | sed 's/^[0-9]*=//')
  if ! formatted "$folder"; then
    status=$(cluster_status "$cluster")
    # The only master of a group that is in the configuration has had a folder before. An empty one in
    # its place would make every object of the group vanish without a word.
    if [ "$(echo "$addresses" | wc -l)" = 1 ] &&
      echo "$status" | grep -qF "\"group_id\":$group,\"address\":\"$addresses\""; then
      die "group $group is in use, but $folder is empty: bring its volume back"
    fi
    id=$(echo "$status" | sed -n 's/.*"cluster_id":"\([^"]*\)".*/\1/p')
    shards=$(echo "$status" | sed -n 's/.*"shard_count":\([0-9]*\).*/\1/p')
    master format --folder "$folder" --cluster-id "$id" --shards "$shards"
    say "formatted a master of group $group, cluster $id"
  fi
  if [ "${BALLAST_JOIN:-no}" = yes ] && [ ! -e "$DATA/joined" ]; then
    # Joining again with the same addresses changes nothing. Later starts do not join: an operator may
    # have had the group leave.
    # shellcheck disable=SC2086
    ballast --cluster "$cluster" group join "$group" $addresses >&2
    touch "$DATA/joined"
  fi
  exec master run --folder "$folder"
}

run_chunkserver() {
  folder="$DATA/chunkserver"
  if ! formatted "$folder"; then
    cluster_status "${BALLAST_CHUNKSERVER_SHARDCTL:?names the shard controller, HOST:PORT}" >/dev/null
    id=$(chunkserver format --folder "$folder")
    say "formatted chunk server $id"
  fi
  exec chunkserver run --folder "$folder"
}

case "${1:-}" in
  shardctl | master | chunkserver)
    # With arguments of its own it is an ordinary command: `shardctl --help`.
    if [ $# = 1 ]; then
      "run_$1"
    fi
    ;;
esac
exec "$@"
