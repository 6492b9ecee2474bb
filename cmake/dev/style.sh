# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# ./dev fmt and ./dev lint.

# sources PATTERN...: tracked and new files, NUL-separated.
sources() { git ls-files -z --cached --others --exclude-standard -- "$@"; }

run_fmt() {
  setup
  case "${1:-}" in
    "") sources '*.cc' '*.h' '*.c' | xargs -0 -P "$(nproc)" -n 20 clang-format-14 -i ;;
    --check)
      sources '*.cc' '*.h' '*.c' | xargs -0 -P "$(nproc)" -n 20 clang-format-14 --dry-run -Werror ||
        die "some files are not formatted: ./dev fmt"
      ;;
    *) die "fmt takes nothing or --check, not '$1'" ;;
  esac
}

# Sources that differ from main (committed, staged, changed or new).
changed_sources() {
  {
    git diff --name-only --diff-filter=d "$(git merge-base HEAD main 2>/dev/null || echo HEAD)"
    git ls-files --others --exclude-standard
  } | grep -E '\.cc$' | sort -u || true
}

# clang_tidy FILE...: over the tidy preset's compile commands; a header counts with its sources.
clang_tidy() {
  [ $# -gt 0 ] || return 0
  say "clang-tidy on $# files"
  printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -n 4 clang-tidy-14 -p build/tidy --quiet \
    --warnings-as-errors='*' 2>/dev/null
}

# Every header of ours compiles alone.
check_headers() {
  [ -f build/release/build.ninja ] || build release
  local flags=(-std=c++20 -fsyntax-only -Wall -Wextra -I. -isystem build/release/gen
    -isystem build/deps/raft/include -x c++)
  sources '*.h' ':!:common/raft/craft_shim_internal.h' |
    xargs -0 -P "$(nproc)" -I{} sh -c 'g++ "$@" {} 2>&1 | grep -v "pragma once in main file" |
      grep -E "error|warning" && { echo "not self-contained: {}"; exit 1; } || exit 0' sh "${flags[@]}"
}

run_lint() {
  local all=0
  case "${1:-}" in
    "") ;;
    --all) all=1 ;;
    *) die "lint takes nothing or --all, not '$1'" ;;
  esac
  setup
  python3 tests/tidy/tidy_test.py --quiet
  run_fmt --check
  if command -v shellcheck >/dev/null; then
    shellcheck -x dev .ci/run cmake/dev/*.sh docker/entrypoint.sh
  else
    say "shellcheck is not installed: scripts are not checked"
  fi
  build tidy
  local files
  if [ "$all" = 1 ]; then
    mapfile -d '' -t files < <(sources '*.cc')
  else
    mapfile -t files < <(changed_sources)
  fi
  clang_tidy "${files[@]}"
}
