# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# ./dev test: stages, each timed; a failed build ends the run, failed tests let the rest run.

STAGES=()
FAILED=0

# stage NAME COMMAND...: runs it, notes seconds and outcome.
stage() {
  local name="$1" begin=$SECONDS status=0
  shift
  # In a subshell with errexit of its own, which a condition would switch off.
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  if [ "$status" = 0 ]; then
    STAGES+=("$(printf '%6d s  %s' $((SECONDS - begin)) "$name")")
  else
    STAGES+=("$(printf '%6d s  %s: FAILED' $((SECONDS - begin)) "$name")")
    FAILED=1
  fi
  return "$status"
}

summary() {
  say "summary (${SECONDS} s in all)"
  printf '%s\n' "${STAGES[@]}" >&2
  if [ "$FAILED" = 0 ]; then
    printf 'all tests passed\n' >&2
  fi
  exit "$FAILED"
}

# tests PRESET [CTEST ARGUMENTS...]
tests() {
  local preset="$1"
  shift
  export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
  ctest --test-dir "build/$preset" --parallel "$(nproc)" --output-on-failure --no-tests=error \
    "$@" </dev/null
}

run_tests() {
  local full=0
  case "${1:-}" in
    "") ;;
    --full) full=1 ;;
    *) die "test takes nothing or --full, not '$1'" ;;
  esac
  stage "setup" setup || summary
  stage "build release" build release || summary
  stage "tests, release" tests release || true
  stage "build asan-ubsan" build asan-ubsan || summary
  stage "tests, asan-ubsan (unit and sim)" tests asan-ubsan --label-regex '^(unit|sim)$' || true
  . cmake/dev/run.sh
  stage "fuzz" run_fuzz 20 || true
  if [ "$full" = 1 ]; then
    . cmake/dev/style.sh
    stage "containers" /usr/bin/python3 -B tests/e2e/compose_test.py || true
    stage "long simulations" run_sim 1000..3000 || true
    stage "lint" run_lint --all || true
    stage "headers alone" check_headers || true
  fi
  summary
}
