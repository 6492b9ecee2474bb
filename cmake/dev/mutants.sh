# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# ./dev sim --mutants: does the simulation of the chunk plane find the bugs that it should?

# Plants each bug of tests/sim/mutants, one at a time, into a copy of the tree, builds the simulation
# there and runs it on seeds 1..N until one breaks a rule. The copy without a bug must pass all of
# them. What a run that does not end in a broken rule says (it does not build, a CHECK fails, it
# hangs) is no finding. The copy stays in build/mutants, so that the next time little is built.
# Usage: run_mutants [--seeds N] [NAME...]
run_mutants() {
  local seeds=1000
  if [ "${1:-}" = --seeds ]; then
    seeds="${2:-}"
    shift 2 || true
  fi
  [[ "$seeds" =~ ^[1-9][0-9]*$ ]] || die "--seeds wants a number"
  setup
  local tree=build/mutants/tree names=("$@") name patch failed=() verdict
  if [ ${#names[@]} = 0 ]; then
    for patch in tests/sim/mutants/*.patch; do
      names+=("$(basename "$patch" .patch)")
    done
  fi
  for name in "${names[@]}"; do
    [ -f "tests/sim/mutants/$name.patch" ] || die "no mutant '$name' in tests/sim/mutants"
  done

  mutant_tree "$tree"
  say "without a bug: seeds 1..$seeds must pass"
  verdict=$(mutant_verdict "$tree" "$seeds")
  [ "$verdict" = passed ] || die "without a planted bug: $verdict"
  for name in "${names[@]}"; do
    patch="$PWD/tests/sim/mutants/$name.patch"
    patch -s -p1 -d "$tree" <"$patch" || die "$patch does not apply"
    verdict=$(mutant_verdict "$tree" "$seeds")
    patch -s -R -p1 -d "$tree" <"$patch"
    mutant_touch "$tree" "$patch"
    case "$verdict" in
      seed\ *) say "$name: $verdict" ;;
      passed) failed+=("$name") && say "$name: NOT FOUND in seeds 1..$seeds" ;;
      *) failed+=("$name") && say "$name: NOT FOUND BY A RULE: $verdict" ;;
    esac
  done
  say "$((${#names[@]} - ${#failed[@]})) of ${#names[@]} found"
  [ ${#failed[@]} = 0 ] || die "not found: ${failed[*]}"
}

# The tree as git sees it, with the changes that are not committed. Files that are as they were keep
# their times, so that only what changed is built anew; what an interrupted run left patched is not.
mutant_tree() {
  local tree="$1" file
  mkdir -p "$tree/build"
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [ -f "$file" ] && ! cmp -s "$file" "$tree/$file"; then
      mkdir -p "$tree/$(dirname "$file")"
      cp "$file" "$tree/$file"
    fi
  done
  ln -sfn "$BALLAST_TOP/build/deps" "$tree/build/deps"
}

# The files that a patch changes are newer than their objects.
mutant_touch() {
  local tree="$1" file
  sed -n 's|^+++ b/||p' "$2" | while read -r file; do
    touch "$tree/$file"
  done
}

# One line: "passed", "seed N at TIME: RULE: ...", or what else came in between.
mutant_verdict() {
  local tree="$1" seeds="$2" status=0
  (cd "$tree" && ./dev build release chunk_sim_test) >build/mutants/build.log 2>&1 || {
    echo "it does not build, see build/mutants/build.log"
    return
  }
  # A bug may make a run longer, but hardly by so much.
  (cd "$tree" && BALLAST_SIM_SEEDS="1..$seeds" exec timeout 900 build/release/tests/chunk_sim_test \
    --gtest_filter='*KeepsItsPromises*') >build/mutants/run.log 2>build/mutants/run.err || status=$?
  if [ "$status" = 0 ]; then
    echo passed
  elif ! sed -n 's/.*Which is: "\(seed [0-9]* at .*\)"$/\1/p' build/mutants/run.log |
    head -n 1 | cut -c1-150 | grep .; then
    { grep -h 'CHECK' build/mutants/run.err || echo "it ended with status $status"; } |
      head -n 1 | cut -c1-150
  fi
}
