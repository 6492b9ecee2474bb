// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ballast::chunkserver {

// What the chunkserver program was told. Values are validated where they are used: by Format and
// Server::Start.
struct Options {
  enum class Verb { kFormat, kRun };
  Verb verb = Verb::kRun;
  std::string folder;
  std::vector<std::string> shardctl = {"127.0.0.1:7400"};

  // format
  std::string cluster_id;  // empty: asked from shardctl

  // run
  std::string listen = "127.0.0.1:7600";
  std::string advertise;  // empty: the address listened on
  std::string zone;
  uint64_t capacity_bytes = 0;  // 0: the whole file system
  uint32_t disk_threads = 8;
};

// Prints and exits where the command line asks for it or is wrong (exit code 2).
Options ParseOptionsOrExit(int argc, char** argv);

}  // namespace ballast::chunkserver
