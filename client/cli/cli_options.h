// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "protos/shardctl_service.pb.h"

namespace ballast::client {

// One invocation of `ballast`, validated as far as that is possible without a cluster.
struct CliOptions {
  std::string verb;  // "put", "group join", ...

  std::vector<std::string> cluster = {"127.0.0.1:7400"};
  bool json = false;
  bool quiet = false;
  absl::Duration timeout = absl::Minutes(10);

  // put, get, stat, cp (from `key` to `target_key`), replicas
  std::string file;
  std::string key;
  std::string target_key;
  uint32_t replicas = 0;  // 0: the cluster's default
  std::optional<uint64_t> if_generation_match;
  std::vector<std::pair<std::string, std::string>> metadata;
  uint64_t chunk_bytes = 0;  // 0: the library's
  uint32_t parallel = 3;
  uint64_t offset_bytes = 0;
  std::optional<uint64_t> length_bytes;
  bool spread = false;

  // rm
  std::vector<std::string> keys;

  // ls
  std::string prefix;
  std::string start_after;
  uint64_t limit = 0;  // 0: all
  bool long_form = false;

  // drain, undrain; fsck --purge: one
  std::vector<std::string> servers;
  std::string purge;
  uint32_t moves_shown = 0;  // rebalance plan
  bool no_wait = false;      // rebalance run

  // group join, group leave
  uint32_t group = 0;
  std::vector<std::string> addresses;

  // pool: servers and keys as above
  std::string pool;
  std::optional<double> weight;
  uint32_t points_per_weight = 0;  // 0: the default
  uint32_t count = 1;              // of servers that pool route names

  // health
  std::string address;

  // settings: absent fields are not changed; none present: only show
  v1::UpdateSettingsRequest settings;
  bool changes_settings = false;
};

struct CliParse {
  CliOptions options;
  bool proceed = false;  // false: print `text` (to stderr if exit_code is not 0) and exit
  int exit_code = 0;
  std::string text;
};

// `arguments` without the program's name. Misuse: exit code 2 and one line that says what is wrong.
CliParse ParseCli(const std::vector<std::string>& arguments);

}  // namespace ballast::client
