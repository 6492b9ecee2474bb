# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# ./dev sim --mutants: does the simulation of the chunk plane find the bugs that it should?

# Plants each bug of tests/sim/mutants, one at a time, into a copy of the tree, builds the simulation
# there and runs it on seeds 1..N until it fails. The copy without a bug must pass the same seeds.
# Usage: run_mutants [--seeds N] [NAME...]
run_mutants() {
  local seeds=400
  if [ "${1:-}" = --seeds ]; then
    seeds="${2:-}"
    shift 2
  fi
  case "$seeds" in
    "" | *[!0-9]*) die "--seeds wants a number" ;;
  esac
  setup
  local tree=build/mutants/tree names=("$@") name patch file survivors=()
  if [ ${#names[@]} = 0 ]; then
    for patch in tests/sim/mutants/*.patch; do
      names+=("$(basename "$patch" .patch)")
    done
  fi
  for name in "${names[@]}"; do
    [ -f "tests/sim/mutants/$name.patch" ] || die "no mutant '$name' in tests/sim/mutants"
  done

  mkdir -p "$tree/build"
  git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xf - -C "$tree"
  ln -sfn "$BALLAST_TOP/build/deps" "$tree/build/deps"
  # What an earlier run left patched is as it should be again, and newer than its objects.
  while read -r file; do
    touch "$tree/$file"
  done < <(mutated_files tests/sim/mutants/*.patch)

  say "without a bug: seeds 1..$seeds must pass"
  if ! mutant_passes "$tree" "$seeds"; then
    tail -n 30 build/mutants/run.log
    die "the simulation fails without a planted bug"
  fi
  for name in "${names[@]}"; do
    patch="tests/sim/mutants/$name.patch"
    patch -s -p1 -d "$tree" <"$patch" || die "$patch does not apply"
    if mutant_passes "$tree" "$seeds"; then
      say "$name: NOT FOUND in seeds 1..$seeds"
      survivors+=("$name")
    else
      say "$name: $(mutant_verdict)"
    fi
    patch -s -R -p1 -d "$tree" <"$patch"
    while read -r file; do
      touch "$tree/$file"
    done < <(mutated_files "$patch")
  done
  say "$((${#names[@]} - ${#survivors[@]})) of ${#names[@]} found"
  [ ${#survivors[@]} = 0 ] || die "not found: ${survivors[*]}"
}

mutated_files() {
  sed -n 's|^+++ b/||p' "$@" | sort -u
}

# True if the simulation in this tree passes; dies if it does not build.
mutant_passes() {
  local tree="$1" seeds="$2"
  (cd "$tree" && ./dev build release chunk_sim_test) >build/mutants/build.log 2>&1 || {
    tail -n 30 build/mutants/build.log
    die "does not build in $tree"
  }
  # A bug may also make it run for ever, which is found, too.
  (cd "$tree" && BALLAST_SIM_SEEDS="1..$seeds" timeout 600 build/release/tests/chunk_sim_test \
    --gtest_filter='*KeepsItsPromises*') >build/mutants/run.log 2>build/mutants/run.err
}

mutant_verdict() {
  sed -n 's/.*Which is: "\(seed [0-9]* at .*\)"$/\1/p' build/mutants/run.log | head -n 1 |
    cut -c1-150 | grep . || { grep -h 'CHECK' build/mutants/run.err || echo "crashed or hung"; } | head -n 1
}
