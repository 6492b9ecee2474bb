# SPDX-License-Identifier: Apache-2.0
# One image for every program of Ballast: shardctl, master, chunkserver, gateway and ballast.
#
#   ./dev image --compile     compiles them in the image; the same as: docker build --tag ballast .
#   ./dev image               takes them from build/release/bin of this machine, if it is a Debian 12
#
# Builds with Docker's classic builder and with BuildKit. Packages come from the sources that the base
# image names, at build time only; at run time nothing is fetched from anywhere.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
# "compile", or a folder of the build context that holds the programs ready-made.
ARG BINARIES=compile
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
# What ./dev setup needs comes first: the packages, those of cmake/dev/packages.txt, are a layer of their
# own, which a change of the sources leaves alone.
COPY dev ./
COPY cmake/dev/ cmake/dev/
RUN if [ "$BINARIES" = compile ]; then ./dev setup; fi
COPY . .
RUN if [ "$BINARIES" = compile ]; then \
      . cmake/dev/lib.sh; \
      ./dev build release $(programs); \
      mkdir /programs; \
      for program in $(programs); do \
        strip -o "/programs/$program" "build/release/bin/$program"; \
      done; \
    else \
      mv "$BINARIES" /programs; \
    fi

FROM ${BASE}
LABEL org.opencontainers.image.title="Ballast" \
      org.opencontainers.image.description="A distributed object store that keeps itself level" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY docker/runtime_packages.txt /tmp/
RUN apt-get update -q \
    && grep -v '^#' /tmp/runtime_packages.txt | DEBIAN_FRONTEND=noninteractive xargs \
       apt-get install -y -q --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* /tmp/runtime_packages.txt \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /data \
       --shell /usr/sbin/nologin ballast \
    && install -d -o ballast -g ballast -m 750 /data
COPY docker/entrypoint.sh /usr/local/bin/ballast-entrypoint
COPY --from=build /programs/ /usr/local/bin/
USER ballast
WORKDIR /data
VOLUME /data
# shardctl, master, chunkserver. Health: ballast health 127.0.0.1:PORT.
EXPOSE 7400 7500 7600
ENTRYPOINT ["ballast-entrypoint"]
CMD ["ballast", "--help"]
