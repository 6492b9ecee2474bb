# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# ./dev image: the container image of docker-compose.yml, named $BALLAST_IMAGE (ballast).
IMAGE="${BALLAST_IMAGE:-ballast}"

# prebuilt_image FOLDER [ARGUMENTS OF docker build...]: from the programs in FOLDER, so that nothing is
# compiled. They must have been built for the Debian of the base image.
prebuilt_image() {
  local folder="$1" context program status=0
  shift
  context=$(mktemp -d)
  mkdir "$context/prebuilt"
  cp -r Dockerfile dev cmake docker "$context"
  for program in $(programs); do
    strip -o "$context/prebuilt/$program" "$folder/$program" || status=1
  done
  [ "$status" = 0 ] &&
    docker build --build-arg BINARIES=prebuilt --tag "$IMAGE" "$@" "$context" || status=1
  rm -rf "$context"
  [ "$status" = 0 ] || die "the image could not be built"
}

# run_image [--compile] [ARGUMENTS OF docker build...]
run_image() {
  command -v docker >/dev/null || die "docker is not installed: apt-get install docker.io"
  if [ "${1:-}" = --compile ]; then
    shift
    docker build --tag "$IMAGE" "$@" .
    return
  fi
  grep -q '^VERSION_CODENAME=bookworm' /etc/os-release ||
    die "this machine is not Debian 12, so its programs do not run in the image: ./dev image --compile"
  setup
  # shellcheck disable=SC2046
  build release $(programs)
  prebuilt_image build/release/bin "$@"
}
