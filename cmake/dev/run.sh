# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# ./dev bench, sim, docs and clean.

# Names of benchmarks: scripts bench/NAME.sh, else programs NAME_bench.
bench_names() {
  {
    find bench -maxdepth 1 -name '*.sh' -printf '%f\n' | sed 's/\.sh$//'
    sed -n 's/^ *ballast_binary(\([a-z0-9_]*\)_bench.*/\1/p' bench/CMakeLists.txt
  } | sort -u
}

run_bench() {
  if [ $# = 0 ]; then
    say "benchmarks: ./dev bench NAME [ARGUMENTS]"
    bench_names
    return
  fi
  local name="$1"
  shift
  bench_names | grep -qxF -e "$name" ||
    die "no benchmark '$name'; there are: $(bench_names | tr '\n' ' ')"
  setup
  if [ -f "bench/$name.sh" ]; then
    exec bash "bench/$name.sh" "$@"
  fi
  build release "${name}_bench"
  exec "build/release/bin/${name}_bench" "$@"
}

run_sim() {
  local seeds="${1:-1000..2000}"
  setup
  build release raft_sim_test
  BALLAST_SIM_SEEDS="$seeds" build/release/tests/raft_sim_test
}

run_docs() {
  setup
  build release
  python3 cmake/dev/configuration_docs.py build/release/bin docs/configuration.md
}

run_clean() {
  case "${1:-}" in
    "") find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} + 2>/dev/null || true ;;
    --all) rm -rf build ;;
    *) die "clean takes nothing or --all, not '$1'" ;;
  esac
}
