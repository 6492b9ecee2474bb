# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Functions of ./dev that set a machine up and build. Sourced from the top of the tree.
BALLAST_TOP="$PWD"

say() {
  if [ -t 2 ]; then
    printf '\033[1m== %s\033[0m\n' "$*" >&2
  else
    printf '== %s\n' "$*" >&2
  fi
}
die() {
  printf 'dev: %s\n' "$*" >&2
  exit 1
}

packages() { grep -v '^#' cmake/dev/packages.txt; }

# Names of the programs that users run, as the CMake lists declare them; benchmarks are not among them.
programs() {
  sed -n 's/^ *ballast_binary(\([a-z]*\)[ )].*/\1/p' {client,gateway,services/*}/CMakeLists.txt
}

# Runs apt-get as root, with sudo if need be.
apt() {
  if [ "$(id -u)" = 0 ]; then
    DEBIAN_FRONTEND=noninteractive apt-get "$@"
  elif command -v sudo >/dev/null; then
    sudo DEBIAN_FRONTEND=noninteractive apt-get "$@"
  else
    die "root is needed to install packages: run as root or install sudo"
  fi
}

install_packages() {
  local missing
  missing=$(comm -23 <(packages | sort) \
    <(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2>/dev/null | awk '$1=="ii"{print $2}' | sort))
  [ -z "$missing" ] && return
  # shellcheck disable=SC2086
  say "installing Debian packages:" $missing
  apt update -q
  # shellcheck disable=SC2086
  apt install -y -q --no-install-recommends $missing
}

# The machine's own Debian source entries with the suite changed to bookworm-backports, as a
# one-line-style list on standard output. Names no host: it only rewrites what is there.
backports_entries() {
  # deb822 stanzas: those of the main archive, not of its security suite.
  { cat /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
    awk 'BEGIN { RS = ""; FS = "\n" }
      /(^|\n)Suites:[^\n]*(^| )bookworm( |\n|$)/ && /(^|\n)Types:[^\n]*deb/ {
        uri = ""; key = ""
        for (i = 1; i <= NF; ++i) {
          if ($i ~ /^URIs:/) { split($i, p, " "); uri = p[2] }
          if ($i ~ /^Signed-By:/) { split($i, p, " "); key = p[2] }
        }
        if (uri != "") {
          option = key != "" ? " [signed-by=" key "]" : ""
          print "deb" option " " uri " bookworm-backports main"
          print "deb-src" option " " uri " bookworm-backports main"
        }
      }'
  # one-line entries
  { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
    awk '$1 == "deb" {
        for (i = 2; i <= NF; ++i) {
          if ($i == "bookworm") {
            line = $0; sub(/ bookworm .*/, " bookworm-backports main", line); print line
            sub(/^deb/, "deb-src", line); print line
          }
        }
      }'
}

# apt-get that sees only bookworm-backports, with its lists below build/deps.
backports_apt() {
  local folder="$BALLAST_TOP/build/deps/backports"
  apt-get -q -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$folder/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o APT::Sandbox::User=root "$@"
}

prepare_backports() {
  local folder="$PWD/build/deps/backports"
  mkdir -p "$folder/lists/partial"
  backports_entries | sort -u >"$folder/sources.list"
  [ -s "$folder/sources.list" ] ||
    die "no Debian bookworm entry in the machine's apt sources, so bookworm-backports cannot be reached"
  backports_apt update >"$folder/update.log" 2>&1 || {
    cat "$folder/update.log" >&2
    die "apt-get update of bookworm-backports failed"
  }
}

# libraft-dev 0.22.1 unpacked to build/deps/raft/{include,lib}; nothing on the machine changes.
unpack_raft() {
  local root="build/deps/raft"
  [ -f "$root/lib/libraft.a" ] && return
  say "unpacking libraft-dev 0.22.1 from bookworm-backports"
  prepare_backports
  local work="$PWD/build/deps/raft-package"
  rm -rf "$work" && mkdir -p "$work"
  (cd "$work" && backports_apt download libraft-dev >/dev/null) ||
    die "libraft-dev could not be downloaded from bookworm-backports"
  dpkg -x "$work"/libraft-dev_0.22.1*.deb "$work/root" || die "libraft-dev is not version 0.22.1"
  mkdir -p "$root/include" "$root/lib"
  cp -r "$work/root/usr/include/." "$root/include/"
  cp "$(find "$work/root" -name libraft.a)" "$root/lib/libraft.a"
}

# The 26 source files of the library's I/O-free core.
raft_core_files() {
  local name
  for name in byte client configuration convert election entry err heap membership message \
    progress raft random recv recv_append_entries recv_append_entries_result \
    recv_install_snapshot recv_request_vote recv_request_vote_result recv_timeout_now \
    replication restore state timeout tracing trail; do
    echo "$name.c"
  done
}

# The consensus core built from Debian's source package with its assertions on, for tests, in
# build/deps/raft-assert/{include,lib}. The packaged library is built without them, so that a
# violated precondition goes on silently. Fails (and says so) where the source cannot be had;
# tests then run on the packaged library.
build_raft_with_asserts() {
  local root="$BALLAST_TOP/build/deps/raft-assert"
  [ -f "$root/lib/libraft.a" ] && return
  say "building the consensus core with assertions"
  local work="$BALLAST_TOP/build/deps/raft-source" version=0.22.1-1~bpo12+1
  local tarball="raft_0.22.1.orig.tar.gz" wanted source name
  rm -rf "$work" && mkdir -p "$work"
  # Only upstream's archive is needed, so an archive without Debian's own two files will do.
  (
    prepare_backports
    cd "$work"
    wanted=$(backports_apt source --print-uris "raft=$version" |
      awk -v file="$tarball" '$2 == file { sub(/^SHA256:/, "", $4); print $4 }')
    backports_apt source --download-only "raft=$version" >download.log 2>&1 || true
    [ -n "$wanted" ] && [ -f "$tarball" ] && echo "$wanted  $tarball" | sha256sum -c --quiet
  ) || {
    say "the library's source cannot be had; tests use the packaged build, without assertions"
    return 1
  }
  tar -xzf "$work/$tarball" -C "$work"
  source="$work/raft-0.22.1"
  mkdir -p "$root/include" "$root/lib" "$work/objects"
  sed 's/@enable_v0@/no/' "$source/include/raft.h.in" >"$source/include/raft.h"
  for name in $(raft_core_files); do
    gcc -std=gnu11 -O1 -g -UNDEBUG -fPIC -I"$source/include" -c "$source/src/$name" \
      -o "$work/objects/${name%.c}.o" || return 1
  done
  cp "$source/include/raft.h" "$root/include/raft.h" || return 1
  ar rcs "$work/libraft.a" "$work"/objects/*.o || return 1
  mv "$work/libraft.a" "$root/lib/libraft.a" # last: says that all is there
}

setup() {
  install_packages
  unpack_raft
  build_raft_with_asserts || true
}

# build PRESET [TARGET...]: quick when nothing changed.
build() {
  local preset="$1"
  shift
  case "$preset" in
    release | dev | asan-ubsan | fuzz | tidy) ;;
    *) die "no preset '$preset'; there are release, dev, asan-ubsan, fuzz and tidy" ;;
  esac
  export CCACHE_SLOPPINESS="${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_mtime,include_file_ctime}"
  export CCACHE_BASEDIR="$BALLAST_TOP" CCACHE_NOHASHDIR=1
  if [ ! -f "build/$preset/build.ninja" ] || [ CMakePresets.json -nt "build/$preset/build.ninja" ]; then
    say "configuring $preset"
    cmake --preset "$preset" >"build/configure-$preset.log" 2>&1 || {
      cat "build/configure-$preset.log" >&2
      die "cmake failed"
    }
  fi
  say "building $preset"
  if [ $# -gt 0 ]; then
    cmake --build "build/$preset" --target "$@"
  else
    cmake --build "build/$preset"
  fi
}
