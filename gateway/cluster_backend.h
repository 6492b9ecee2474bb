// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace ballast::gateway {

// A server's heartbeat as a message tells it. Names are as in the messages.
struct ServerHeartbeat {
  std::string server;
  std::vector<std::string> chunks;  // each once
  double disk_usage_pct = 0;        // 0..100
  std::string health;               // empty: ok
};

struct HeartbeatOrders {
  std::vector<std::string> chunks_to_delete;
  std::vector<std::string> chunks_to_replicate;  // this server is to copy them
};

struct ServerRow {
  std::string server;
  bool alive = false;
  uint64_t chunk_count = 0;            // 0 if it is dead
  int64_t last_heartbeat_ms_ago = -1;  // -1: never
};

struct BalanceReport {
  struct Row {
    std::string server;
    double utilization_pct = 0;
  };
  double average_utilization_pct = 0;
  std::vector<Row> overloaded;
  std::vector<Row> underloaded;
};

struct ChunkMove {
  std::string chunk;
  std::string from;
  std::string to;
};
struct MoveOutcome {
  absl::Status status;  // OK: moved
  uint64_t bytes = 0;   // that the target received
};

struct GroupConfiguration {
  uint64_t version = 0;
  std::vector<uint32_t> shards;  // ascending, each once
  friend bool operator==(const GroupConfiguration&, const GroupConfiguration&) = default;
};
struct UpdateOutcome {
  bool applied = false;
  uint64_t current_version = 0;
};

// What the gateway asks of a cluster: the seam between the messages and the RPCs.
//
// Concurrency: one thread calls everything but Touch, one call at a time; Touch may come from any
// thread at any time, also while another call runs. Calls block.
// Failure: a status of the cluster's own (common/types/error.h); UNIMPLEMENTED for what this
// kind of cluster does not offer (error 10); INVALID_ARGUMENT for what no cluster takes (error 12).
class ClusterBackend {
 public:
  virtual ~ClusterBackend() = default;

  // Takes a heartbeat that was read `age` ago and answers with the server's orders, which are then
  // under way. Names that are new are made known as the kind of cluster does that.
  virtual absl::StatusOr<HeartbeatOrders> Heartbeat(const ServerHeartbeat& heartbeat,
                                                    absl::Duration age) = 0;
  // A heartbeat of this server was read, but its turn has not come: it lives. Best effort.
  virtual void Touch(const std::string& server) = 0;

  virtual absl::StatusOr<std::vector<ServerRow>> Servers() = 0;  // by name
  virtual absl::StatusOr<BalanceReport> CheckBalance() = 0;

  // Makes the moves and returns when all have ended, an outcome each, in order.
  virtual absl::StatusOr<std::vector<MoveOutcome>> Move(absl::Span<const ChunkMove> moves) = 0;

  // The group that this node is, and its configurations.
  virtual absl::Status SetConfig(const GroupConfiguration& config) = 0;
  virtual absl::StatusOr<UpdateOutcome> UpdateConfig(const GroupConfiguration& config) = 0;

  // Values by key. `value` is any text.
  //   NOT_FOUND            Read, CompareAndSet: no such key
  //   FAILED_PRECONDITION  CompareAndSet: the value is another one
  virtual absl::StatusOr<std::string> Read(const std::string& key) = 0;
  virtual absl::Status Write(const std::string& key, const std::string& value) = 0;
  virtual absl::Status CompareAndSet(const std::string& key, const std::string& from,
                                     const std::string& to) = 0;

  // A pool of servers on a hash ring. `servers` after the change; preference order for a key.
  virtual absl::StatusOr<std::vector<std::string>> AddServer(const std::string& server,
                                                             std::optional<double> weight) = 0;
  virtual absl::StatusOr<std::vector<std::string>> RemoveServer(const std::string& server) = 0;
  virtual absl::StatusOr<std::vector<std::string>> Route(const std::string& key) = 0;
};

}  // namespace ballast::gateway
