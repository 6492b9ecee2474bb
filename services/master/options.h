// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/types/limits.h"

namespace ballast::master {

// What the master program was told. Values are validated where they are used: by
// FormatMemberFolder and Server::Start.
struct Options {
  enum class Verb { kFormat, kRun };
  Verb verb = Verb::kRun;
  std::string folder;

  // format
  std::string cluster_id;
  uint32_t shards = kShardsDefault;
  uint32_t group = 1;
  uint32_t node_id = 1;
  std::vector<std::string> voters = {"1=127.0.0.1:7500"};

  // run
  std::string listen;  // empty: the address that format gave this node
  std::vector<std::string> shardctl = {"127.0.0.1:7400"};
};

// Prints and exits where the command line asks for it or is wrong (exit code 2).
Options ParseOptionsOrExit(int argc, char** argv);

}  // namespace ballast::master
