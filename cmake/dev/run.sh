# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# ./dev bench, sim, fuzz, docs and clean.

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
  if [ "${1:-}" = --mutants ]; then
    shift
    . cmake/dev/mutants.sh
    run_mutants "$@"
    return
  fi
  local seeds="${1:-1000..2000}"
  setup
  build release raft_sim_test chunk_sim_test
  BALLAST_SIM_SEEDS="$seeds" build/release/tests/raft_sim_test
  # What the simulated servers log of the faults done to them is of no interest unless one asks.
  if [ -n "${BALLAST_SIM_LOG:-}${BALLAST_SIM_TRACE:-}" ]; then
    BALLAST_SIM_SEEDS="$seeds" build/release/tests/chunk_sim_test
  else
    BALLAST_SIM_SEEDS="$seeds" build/release/tests/chunk_sim_test 2>build/chunk_sim.log ||
      { grep -v ' [EWI] ' build/chunk_sim.log; return 1; }
  fi
}

# fuzz [SECONDS]: what it finds new stays in build/fuzz/corpus; a crash is kept as build/fuzz/crash-*.
run_fuzz() {
  local seconds="${1:-60}" found="build/fuzz/corpus/gateway_input"
  [[ "$seconds" =~ ^[1-9][0-9]*$ ]] || die "fuzz takes a number of seconds, not '$seconds'"
  setup
  build fuzz gateway_input_fuzz
  mkdir -p "$found"
  build/fuzz/bin/gateway_input_fuzz "-max_total_time=$seconds" -max_len=4096 -timeout=10 \
    -rss_limit_mb=1024 -artifact_prefix=build/fuzz/ -print_final_stats=1 -verbosity=0 \
    "$found" tests/fuzz/corpus/gateway_input
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
