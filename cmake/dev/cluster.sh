# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# ./dev up and down, and the functions with which scripts drive a local cluster. The work is done by
# local_cluster.py; what it knows of a cluster is in the cluster's folder.
#
#   start_cluster FOLDER [--servers N] ...   makes or starts it; exports BALLAST_CLUSTER
#   stop_cluster [--wipe]
#   start_process NAME, kill_process NAME (kill -9), restart_process NAME, stop_process NAME,
#   pause_process NAME, resume_process NAME, add_server NUMBER, cluster_status
#   NAME is shardctl, master1, chunkserver1, chunkserver2, ...
CLUSTER_FOLDER="$PWD/build/cluster"

cluster() { python3 "$BALLAST_TOP/cmake/dev/local_cluster.py" --folder "$CLUSTER_FOLDER" "$@"; }

start_cluster() {
  CLUSTER_FOLDER="$1"
  shift
  BALLAST_CLUSTER="$(cluster up "$@")" || return 1
  export BALLAST_CLUSTER
}

stop_cluster() { cluster down "$@"; }
start_process() { cluster start "$1"; }
stop_process() { cluster stop "$1"; }
kill_process() { cluster kill "$1"; }
restart_process() { cluster restart "$1"; }
pause_process() { cluster pause "$1"; }
resume_process() { cluster resume "$1"; }
add_server() { cluster add-server "$1"; }
cluster_status() { cluster status; }

# Takes --folder FOLDER out of the arguments; the rest is in CLUSTER_ARGUMENTS.
cluster_folder_argument() {
  CLUSTER_ARGUMENTS=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --folder)
        [ $# -gt 1 ] || die "--folder needs a folder"
        CLUSTER_FOLDER="$2"
        shift
        ;;
      --folder=*) CLUSTER_FOLDER="${1#--folder=}" ;;
      *) CLUSTER_ARGUMENTS+=("$1") ;;
    esac
    shift
  done
}

run_up() {
  cluster_folder_argument "$@"
  setup
  build release shardctl master chunkserver ballast
  start_cluster "$CLUSTER_FOLDER" ${CLUSTER_ARGUMENTS[@]+"${CLUSTER_ARGUMENTS[@]}"} || exit 1
  cat <<TEXT
A cluster is running in $CLUSTER_FOLDER. To use it:

  export BALLAST_CLUSTER=$BALLAST_CLUSTER
  build/release/bin/ballast put README.md hello
  build/release/bin/ballast ls
  build/release/bin/ballast status

./dev down ends it and keeps its data; ./dev down --wipe removes them too.
TEXT
}

run_down() {
  cluster_folder_argument "$@"
  [ -f "$CLUSTER_FOLDER/cluster.json" ] || die "there is no cluster in $CLUSTER_FOLDER"
  stop_cluster ${CLUSTER_ARGUMENTS[@]+"${CLUSTER_ARGUMENTS[@]}"}
}
