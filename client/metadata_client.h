// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "client/cancellation.h"
#include "client/master_api.h"
#include "client/request_identity.h"
#include "client/retry_loop.h"
#include "client/routing_cache.h"
#include "common/types/ids.h"
#include "protos/master_service.pb.h"

namespace ballast::client {

// What became of one move of a replica.
struct MoveOutcome {
  absl::Status status;
  uint64_t bytes_copied = 0;  // received by the target, also if the move failed later
};

// How one operation wants its calls made.
struct CallControl {
  Cancellation* cancel = nullptr;     // may be null
  std::optional<RetryLimits> limits;  // absent: the client's
};

// Metadata calls with routing, retries and exactly-once identities: what a caller needs to know of
// masters ends here.
//
// Guarantees
//   * Reads are linearizable. They are retried as the limits say.
//   * Mutations are applied at most once, however often they are retried, and are durable when OK.
//     An error that carries OUTCOME_UNKNOWN: some try may have been applied, and it cannot be
//     learned any more. Any other error: nothing happened and nothing will. A lost session is
//     replaced without a word if no earlier try of the request can have been applied.
//   * Routes follow NOT_LEADER and WRONG_GROUP hints; a silent member is left for the next.
//
// Requests are taken without `request`, which is filled in here.
// Concurrency: thread-safe; calls block.
// Ownership: everything given must outlive it. The destructor closes no sessions: CloseSessions.
// Failure: besides master_service.proto's own: CANCELLED (the token; a mutation that was under way
// has OUTCOME_UNKNOWN instead), FAILED_PRECONDITION (no group yet).
class MetadataClient {
 public:
  MetadataClient(MasterApi& api, RoutingCache& routing, RetryEnvironment& env, RetryLimits limits,
                 absl::Duration rpc_timeout)
      : api_(api), routing_(routing), env_(env), limits_(limits), rpc_timeout_(rpc_timeout) {}

  // --- reads ---------------------------------------------------------------------------------
  absl::StatusOr<v1::StatObjectResponse> Stat(const std::string& key, const CallControl& control);
  absl::StatusOr<v1::GetObjectResponse> GetObject(const std::string& key,
                                                  const CallControl& control);
  absl::StatusOr<v1::GetChunksResponse> GetChunks(const v1::GetChunksRequest& request,
                                                  const CallControl& control);
  absl::StatusOr<v1::ListObjectsResponse> ListPage(GroupId group,
                                                   const v1::ListObjectsRequest& request,
                                                   const CallControl& control);
  absl::StatusOr<v1::ListServersResponse> ListServers(GroupId group, const CallControl& control);
  absl::StatusOr<v1::CheckBalanceResponse> CheckBalance(GroupId group, const CallControl& control);
  // A question to a group's leader that changes no metadata, retried as a read is: one of the calls
  // of maintenance.proto, or Explain.
  template <typename Response, typename Request>
  absl::StatusOr<Response> AskLeader(GroupId group, const Request& request,
                                     const CallControl& control);
  // One member as it is, leader or not; one try.
  absl::StatusOr<v1::GetGroupStatusResponse> GroupStatus(const std::string& address,
                                                         Cancellation* cancel);

  // --- mutations -----------------------------------------------------------------------------
  absl::StatusOr<v1::PutInlineResponse> PutInline(v1::PutInlineRequest request,
                                                  const CallControl& control);
  absl::StatusOr<v1::DeleteObjectResponse> Delete(v1::DeleteObjectRequest request,
                                                  const CallControl& control);
  absl::StatusOr<v1::BeginWriteResponse> BeginWrite(v1::BeginWriteRequest request,
                                                    const CallControl& control);
  absl::StatusOr<v1::AllocateChunksResponse> AllocateChunks(v1::AllocateChunksRequest request,
                                                            const CallControl& control);
  absl::StatusOr<v1::SealChunksResponse> SealChunks(v1::SealChunksRequest request,
                                                    const CallControl& control);
  absl::StatusOr<v1::CommitObjectResponse> Commit(v1::CommitObjectRequest request,
                                                  const CallControl& control);
  absl::StatusOr<v1::AbortWriteResponse> AbortWrite(v1::AbortWriteRequest request,
                                                    const CallControl& control);

  absl::StatusOr<v1::SetReplicationResponse> SetReplication(v1::SetReplicationRequest request,
                                                            const CallControl& control);

  // Moves replicas, each with its own outcome, in the order given; returns when all have ended. The
  // moves of different groups go on at the same time. `call_timeout` is the deadline of one call,
  // which has up to 1024 moves: how long their copying may take.
  //
  // A move is not made twice: calls that were not executed (no leader, another group) are tried
  // again, while a call whose answer is lost is not, since its moves go on: OUTCOME_UNKNOWN for
  // each, and GetObject or ListServers will tell. A cancelled call leaves the same.
  std::vector<MoveOutcome> MoveReplicas(std::vector<v1::MoveReplicasRequest::Move> moves,
                                        absl::Duration call_timeout, const CallControl& control);

  // Many operations, each with its own outcome, in the order given. Grouped by group into calls
  // that keep the limits of BatchRequest; what failed alone is retried alone. Not atomic;
  // operations on one key keep their order only if none of them has to be retried.
  std::vector<absl::StatusOr<v1::BatchResponse::Outcome>> Batch(
      std::vector<v1::BatchRequest::Operation> operations, const CallControl& control);

  // Best effort, one try, no answer: a hint to the masters.
  void ReportBadReplica(const v1::ReportBadReplicaRequest& report);

  // Ends all sessions, one try a group, best effort. For the end of a client's life.
  void CloseSessions();

  // What a failed try, also one of a call that is not made here, teaches about routes.
  void LearnFrom(const Route& route, const absl::Status& status);
  RoutingCache& routing() { return routing_; }
  RetryEnvironment& environment() { return env_; }

 private:
  struct BatchState;
  struct MoveState;

  absl::StatusOr<ShardId> ShardOfKey(absl::string_view key);

  // Tries `request` at the target until it has a final answer or the loop stops.
  template <typename Request, typename Response>
  absl::Status CallUntilDone(RetryLoop& loop, const Target& target, const Request& request,
                             Response* response, Cancellation* cancel);
  template <typename Response, typename Request>
  absl::StatusOr<Response> Read(const Target& target, const Request& request,
                                const CallControl& control);
  template <typename Response, typename Request>
  absl::StatusOr<Response> Mutate(ShardId shard, Request request, const CallControl& control);

  // A fresh identity at `shard`, opening a session if there is none.
  absl::StatusOr<v1::RequestId> BeginRequest(ShardId shard, const CallControl& control);
  absl::Status OpenSession(ShardId shard, const CallControl& control);

  absl::Status RunBatchRound(BatchState& state, const CallControl& control);
  absl::Status CallBatch(BatchState& state, const std::vector<size_t>& indexes, GroupId group,
                         const CallControl& control);

  absl::Status RunMoveRound(MoveState& state, absl::Duration call_timeout,
                            const CallControl& control);
  absl::Status CallMoves(MoveState& state, const std::vector<size_t>& indexes, GroupId group,
                         const CallContext& context);

  MasterApi& api_;
  RoutingCache& routing_;
  RetryEnvironment& env_;
  const RetryLimits limits_;
  const absl::Duration rpc_timeout_;
  RequestIdentity identity_;

  absl::Mutex open_mu_;
  std::set<ShardId> opening_ ABSL_GUARDED_BY(open_mu_);  // one thread each is opening a session
};

}  // namespace ballast::client
