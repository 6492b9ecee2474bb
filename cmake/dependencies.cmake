# SPDX-License-Identifier: Apache-2.0
# Every external package, where it comes from and why it is needed. All are Debian packages
# installed by `./dev setup`; docs/decisions/ has the reasons in full.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

find_package(absl REQUIRED)           # status, strings, time, containers, mutex
find_package(Protobuf REQUIRED)       # wire and durable messages
find_package(spdlog REQUIRED)         # log lines (common/base/log.cc only)
find_package(CLI11 REQUIRED)          # flags, config file, environment (options.cc files only)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)      # CRC32C (common/base/crc32c.cc only)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)  # stable hashes (common/routing)

if(BALLAST_GRPC)
  find_package(gRPC CONFIG REQUIRED)  # transport of every conversation
endif()

# Consensus core: cowsql C-Raft 0.22.1, exactly (the shim refuses any other version at compile
# time), linked statically from an unpacked package so that the machine's own stay as they are.
if(NOT EXISTS ${BALLAST_RAFT_ROOT}/include/raft.h)
  message(FATAL_ERROR "no consensus library in ${BALLAST_RAFT_ROOT}: run ./dev setup")
endif()
add_library(craft STATIC IMPORTED GLOBAL)
set_target_properties(craft PROPERTIES
  IMPORTED_LOCATION ${BALLAST_RAFT_ROOT}/lib/libraft.a
  INTERFACE_INCLUDE_DIRECTORIES ${BALLAST_RAFT_ROOT}/include)

# The same core built from source with its assertions on (./dev setup makes it where Debian's
# source package can be had): what tests link when it is there.
set(BALLAST_RAFT_ASSERT_ROOT ${CMAKE_SOURCE_DIR}/build/deps/raft-assert CACHE PATH
    "The consensus core built with assertions, or a folder without it")
if(EXISTS ${BALLAST_RAFT_ASSERT_ROOT}/lib/libraft.a)
  add_library(craft_assert STATIC IMPORTED GLOBAL)
  set_target_properties(craft_assert PROPERTIES
    IMPORTED_LOCATION ${BALLAST_RAFT_ASSERT_ROOT}/lib/libraft.a
    INTERFACE_INCLUDE_DIRECTORIES ${BALLAST_RAFT_ASSERT_ROOT}/include)
endif()
