// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "protos/pool_service.pb.h"
#include "protos/shardctl_service.pb.h"

namespace ballast {

struct ShardctlClientOptions {
  // host:port of every shardctl process, at least one.
  std::vector<std::string> addresses;
  // The cluster the caller belongs to. Empty: learned from the first answer to GetCluster, then
  // fixed for the life of the client.
  std::string cluster_id;
  // Deadline of one try at one address.
  absl::Duration attempt_timeout = absl::Seconds(2);
  // How long a call goes on trying in all.
  absl::Duration total_timeout = absl::Seconds(10);
  // Pause after a round of failures: doubled from min to max, each jittered by up to half.
  absl::Duration backoff_min = absl::Milliseconds(20);
  absl::Duration backoff_max = absl::Seconds(1);
};

// Blocking calls to the shard controller.
//
// Guarantees: a call is tried at one address after another until it has a definite answer or
// `total_timeout` is over; NOT_LEADER hints are followed at once, UNAVAILABLE and
// DEADLINE_EXCEEDED go on to the next address. Every call carries the cluster id. Repeating is safe
// because shardctl's mutations are idempotent by content.
// Concurrency: thread-safe; each call blocks its own thread. Never call from a gRPC reaction or an
// executor that must not stop: those use ShardctlWatcher or a thread of their own.
// Lifetime: Shutdown or the destructor ends calls under way (CANCELLED) promptly.
// Failure, all calls: shardctl's own definite errors as they are (see shardctl_service.proto);
// FAILED_PRECONDITION / WRONG_CLUSTER, never retried; CANCELLED after Shutdown; otherwise, when the
// time is over, the last error met (UNAVAILABLE or DEADLINE_EXCEEDED; a mutation may have
// happened).
class ShardctlClient {
 public:
  explicit ShardctlClient(ShardctlClientOptions options);
  ~ShardctlClient();
  ShardctlClient(const ShardctlClient&) = delete;
  ShardctlClient& operator=(const ShardctlClient&) = delete;

  absl::StatusOr<v1::GetClusterResponse> GetCluster();
  absl::StatusOr<v1::JoinResponse> Join(const v1::JoinRequest& request);
  absl::StatusOr<v1::LeaveResponse> Leave(const v1::LeaveRequest& request);
  absl::StatusOr<v1::MoveResponse> Move(const v1::MoveRequest& request);
  absl::StatusOr<v1::QueryResponse> Query(const v1::QueryRequest& request);
  // One Watch call with wait_ms as given: the registry and configurations as of now with wait 0.
  // wait_ms comes on top of the timeouts. Whoever follows the cluster uses ShardctlWatcher.
  absl::StatusOr<v1::WatchResponse> Watch(const v1::WatchRequest& request);
  absl::StatusOr<v1::RegisterChunkServerResponse> RegisterChunkServer(
      const v1::RegisterChunkServerRequest& request);
  absl::StatusOr<v1::SetServerStateResponse> SetServerState(
      const v1::SetServerStateRequest& request);
  absl::StatusOr<v1::UpdateSettingsResponse> UpdateSettings(
      const v1::UpdateSettingsRequest& request);

  // Routing pools (pool_service.proto).
  absl::StatusOr<v1::CreatePoolResponse> CreatePool(const v1::CreatePoolRequest& request);
  absl::StatusOr<v1::DeletePoolResponse> DeletePool(const v1::DeletePoolRequest& request);
  absl::StatusOr<v1::PutPoolServerResponse> PutPoolServer(const v1::PutPoolServerRequest& request);
  absl::StatusOr<v1::RemovePoolServerResponse> RemovePoolServer(
      const v1::RemovePoolServerRequest& request);
  absl::StatusOr<v1::GetPoolResponse> GetPool(const v1::GetPoolRequest& request);
  absl::StatusOr<v1::ListPoolsResponse> ListPools();
  absl::StatusOr<v1::RouteResponse> Route(const v1::RouteRequest& request);
  // wait_ms comes on top of the timeouts.
  absl::StatusOr<v1::WatchPoolResponse> WatchPool(const v1::WatchPoolRequest& request);

  // The cluster this client belongs to; empty until it is known.
  std::string cluster_id() const;

  // Calls under way and all later ones end with CANCELLED. Idempotent.
  void Shutdown();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ballast
