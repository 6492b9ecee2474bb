// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "protos/chunkserver_control_service.pb.h"

namespace ballast {

// What the operations of heartbeats_bench share.
struct HeartbeatsOptions {
  std::string cluster = "127.0.0.1:7400";
  std::string operation = "beat";
  std::string address;  // of whom to beat at; empty: the master
  uint32_t servers = 10000;
  uint32_t connections = 1000;
  uint64_t chunks = 1'100'000;
  absl::Duration interval = absl::Seconds(5);
};

struct HeartbeatsTarget {
  std::string cluster_id;
  uint32_t shard_count = 0;
  std::string master;
};

[[noreturn]] void Fail(const absl::Status& status, absl::string_view what);
HeartbeatsTarget FindTarget(const HeartbeatsOptions& options);
// The id of the n-th simulated server, n from 0.
std::string ServerIdOf(uint32_t n);
// Registers servers [0, count); returns the first one's index.
uint32_t Register(const HeartbeatsOptions& options, uint32_t count);
// What a stream's first heartbeat says; what later ones say.
v1::Heartbeat FirstHeartbeat(const HeartbeatsTarget& target, uint32_t server);
v1::Heartbeat IdleHeartbeat();

// Tells the driver, in one line, and waits for one from it.
void Say(const std::string& json);
void Await();

// The operation `report`.
void RunReport(const HeartbeatsOptions& options);

}  // namespace ballast
