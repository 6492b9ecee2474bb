// SPDX-License-Identifier: Apache-2.0
#include "client/metadata_client.h"

#include <map>
#include <utility>

#include "client/outcome.h"
#include "common/base/status_macros.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"
#include "common/types/key.h"

namespace ballast::client {
namespace {

// Sessions that may be replaced for one request before something is badly wrong.
constexpr int kSessionsMax = 3;

// A group whose members have all been silent for this many tries may live elsewhere by now.
constexpr int kTriesBeforeRefresh = 6;

constexpr absl::Duration kBestEffortTimeout = absl::Seconds(2);

// True if a final error is about the request itself: then it is the answer, also to earlier tries.
// Others (a foreign server at this address, say) know nothing of what those did.
bool AnswersTheRequest(const absl::Status& status) {
  const v1::Reason reason = ReasonOf(status);
  return reason != v1::REASON_UNSPECIFIED && reason != v1::REASON_WRONG_CLUSTER;
}

}  // namespace

absl::StatusOr<ShardId> MetadataClient::ShardOfKey(absl::string_view key) {
  RETURN_IF_ERROR(ValidateKey(key));
  ASSIGN_OR_RETURN(const uint32_t count, routing_.ShardCount());
  return ballast::ShardOfKey(key, count);
}

void MetadataClient::LearnFrom(const Route& route, const absl::Status& status) {
  const auto detail = DetailOf(status);
  if (!detail.has_value()) {
    routing_.Avoid(route);
    return;
  }
  switch (detail->reason()) {
    case v1::REASON_NOT_LEADER:
      if (detail->leader_address().empty()) {
        routing_.Avoid(route);
      } else if (!routing_.LearnLeader(route.group, detail->leader_address())) {
        // A leader that is no member of the group as we know it: our configuration is old.
        routing_.Avoid(route);
        routing_.Refresh(route.version).IgnoreError();
      }
      return;
    case v1::REASON_WRONG_GROUP:
      routing_.Refresh(route.version).IgnoreError();
      return;
    default:
      return;
  }
}

template <typename Request, typename Response>
absl::Status MetadataClient::CallUntilDone(RetryLoop& loop, const Target& target,
                                           const Request& request, Response* response,
                                           Cancellation* cancel) {
  while (true) {
    const absl::StatusOr<Route> route = routing_.Find(target);
    if (!route.ok()) {
      if (!loop.AgainUnsent(route.status())) {
        return loop.Explain(route.status());
      }
      continue;
    }
    response->Clear();
    const absl::Status status =
        api_.Call(route->address, CallContext{rpc_timeout_, cancel}, request, response);
    if (status.ok()) {
      return status;
    }
    LearnFrom(*route, status);
    if (!loop.Again(status)) {
      return loop.Explain(status);
    }
    if (loop.tries() % kTriesBeforeRefresh == 0) {
      routing_.Refresh(route->version).IgnoreError();
    }
  }
}

template <typename Response, typename Request>
absl::StatusOr<Response> MetadataClient::Read(const Target& target, const Request& request,
                                              const CallControl& control) {
  RetryLoop loop(env_, control.limits.value_or(limits_), control.cancel);
  Response response;
  const absl::Status status = CallUntilDone(loop, target, request, &response, control.cancel);
  if (!status.ok() && control.cancel != nullptr && control.cancel->cancelled()) {
    return absl::CancelledError("cancelled");
  }
  RETURN_IF_ERROR(status);
  return response;
}

template <typename Response, typename Request>
absl::StatusOr<Response> MetadataClient::Mutate(ShardId shard, Request request,
                                                const CallControl& control) {
  RetryLoop loop(env_, control.limits.value_or(limits_), control.cancel);
  for (int session = 1;; ++session) {
    ASSIGN_OR_RETURN(*request.mutable_request(), BeginRequest(shard, control));
    Response response;
    const absl::Status status =
        CallUntilDone(loop, Target(shard), request, &response, control.cancel);
    identity_.Finish(request.request());
    if (status.ok()) {
      return response;
    }
    if (ReasonOf(status) == v1::REASON_SESSION_EXPIRED) {
      identity_.Expire(SessionId(request.request().session_id()));
      if (!loop.any_unknown() && session < kSessionsMax) {
        continue;  // no earlier try was in doubt: nothing happened, ask anew
      }
      return OutcomeUnknown(status.message());
    }
    if (OutcomeOf(status) == TryOutcome::kFinal &&
        (!loop.any_unknown() || AnswersTheRequest(status))) {
      return status;
    }
    if (loop.any_unknown()) {
      return OutcomeUnknown(status.message());
    }
    if (control.cancel != nullptr && control.cancel->cancelled()) {
      return absl::CancelledError("cancelled before it happened");
    }
    return status;
  }
}

absl::StatusOr<v1::RequestId> MetadataClient::BeginRequest(ShardId shard,
                                                           const CallControl& control) {
  while (true) {
    if (auto request = identity_.Begin(shard); request.has_value()) {
      return *request;
    }
    {
      // One thread opens, the others wait for its session.
      absl::MutexLock lock(&open_mu_);
      const auto free = [this, shard]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(open_mu_) {
        return !opening_.contains(shard);
      };
      if (!free()) {
        open_mu_.Await(absl::Condition(&free));
        continue;
      }
      opening_.insert(shard);
    }
    const absl::Status opened = OpenSession(shard, control);
    {
      absl::MutexLock lock(&open_mu_);
      opening_.erase(shard);
    }
    RETURN_IF_ERROR(opened);
  }
}

absl::Status MetadataClient::OpenSession(ShardId shard, const CallControl& control) {
  v1::OpenSessionsRequest request;
  request.add_shards(shard.value());
  ASSIGN_OR_RETURN(const auto response,
                   Read<v1::OpenSessionsResponse>(Target(shard), request, control));
  if (response.session_ids_size() != 1 || ShardOf(SessionId(response.session_ids(0))) != shard) {
    return absl::InternalError("the master opened a session for another shard");
  }
  identity_.Adopt(shard, SessionId(response.session_ids(0)));
  return absl::OkStatus();
}

void MetadataClient::CloseSessions() {
  std::map<std::string, v1::CloseSessionsRequest> by_address;
  for (const SessionId id : identity_.TakeAll()) {
    const auto route = routing_.Find(Target(ShardOf(id)));
    if (route.ok()) {
      by_address[route->address].add_session_ids(id.value());
    }
  }
  for (const auto& [address, request] : by_address) {
    v1::CloseSessionsResponse response;
    // An idle session ends by itself; a dying client must not wait for a dead master.
    api_.Call(address, CallContext{kBestEffortTimeout, nullptr}, request, &response).IgnoreError();
  }
}

void MetadataClient::ReportBadReplica(const v1::ReportBadReplicaRequest& report) {
  const auto route = routing_.Find(Target(ChunkHandle(report.handle()).shard()));
  if (!route.ok()) {
    return;
  }
  v1::ReportBadReplicaResponse response;
  api_.Call(route->address, CallContext{kBestEffortTimeout, nullptr}, report, &response)
      .IgnoreError();
}

// --- one line a call -------------------------------------------------------------------------

absl::StatusOr<v1::StatObjectResponse> MetadataClient::Stat(const std::string& key,
                                                            const CallControl& control) {
  ASSIGN_OR_RETURN(const ShardId shard, ShardOfKey(key));
  v1::StatObjectRequest request;
  request.set_key(key);
  return Read<v1::StatObjectResponse>(Target(shard), request, control);
}

absl::StatusOr<v1::GetObjectResponse> MetadataClient::GetObject(const std::string& key,
                                                                const CallControl& control) {
  ASSIGN_OR_RETURN(const ShardId shard, ShardOfKey(key));
  v1::GetObjectRequest request;
  request.set_key(key);
  return Read<v1::GetObjectResponse>(Target(shard), request, control);
}

absl::StatusOr<v1::GetChunksResponse> MetadataClient::GetChunks(const v1::GetChunksRequest& request,
                                                                const CallControl& control) {
  ASSIGN_OR_RETURN(const ShardId shard, ShardOfKey(request.key()));
  return Read<v1::GetChunksResponse>(Target(shard), request, control);
}

absl::StatusOr<v1::ListObjectsResponse> MetadataClient::ListPage(
    GroupId group, const v1::ListObjectsRequest& request, const CallControl& control) {
  RETURN_IF_ERROR(ValidatePrefix(request.prefix()));
  return Read<v1::ListObjectsResponse>(Target(group), request, control);
}

absl::StatusOr<v1::ListServersResponse> MetadataClient::ListServers(GroupId group,
                                                                    const CallControl& control) {
  return Read<v1::ListServersResponse>(Target(group), v1::ListServersRequest(), control);
}

absl::StatusOr<v1::GetGroupStatusResponse> MetadataClient::GroupStatus(const std::string& address,
                                                                       Cancellation* cancel) {
  v1::GetGroupStatusResponse response;
  RETURN_IF_ERROR(api_.Call(address, CallContext{kBestEffortTimeout, cancel},
                            v1::GetGroupStatusRequest(), &response));
  return response;
}

absl::StatusOr<v1::PutInlineResponse> MetadataClient::PutInline(v1::PutInlineRequest request,
                                                                const CallControl& control) {
  ASSIGN_OR_RETURN(const ShardId shard, ShardOfKey(request.key()));
  return Mutate<v1::PutInlineResponse>(shard, std::move(request), control);
}

absl::StatusOr<v1::DeleteObjectResponse> MetadataClient::Delete(v1::DeleteObjectRequest request,
                                                                const CallControl& control) {
  ASSIGN_OR_RETURN(const ShardId shard, ShardOfKey(request.key()));
  return Mutate<v1::DeleteObjectResponse>(shard, std::move(request), control);
}

absl::StatusOr<v1::BeginWriteResponse> MetadataClient::BeginWrite(v1::BeginWriteRequest request,
                                                                  const CallControl& control) {
  ASSIGN_OR_RETURN(const ShardId shard, ShardOfKey(request.key()));
  return Mutate<v1::BeginWriteResponse>(shard, std::move(request), control);
}

absl::StatusOr<v1::AllocateChunksResponse> MetadataClient::AllocateChunks(
    v1::AllocateChunksRequest request, const CallControl& control) {
  const ShardId shard = ShardOf(DraftId(request.draft_id()));
  return Mutate<v1::AllocateChunksResponse>(shard, std::move(request), control);
}

absl::StatusOr<v1::SealChunksResponse> MetadataClient::SealChunks(v1::SealChunksRequest request,
                                                                  const CallControl& control) {
  const ShardId shard = ShardOf(DraftId(request.draft_id()));
  return Mutate<v1::SealChunksResponse>(shard, std::move(request), control);
}

absl::StatusOr<v1::CommitObjectResponse> MetadataClient::Commit(v1::CommitObjectRequest request,
                                                                const CallControl& control) {
  const ShardId shard = ShardOf(DraftId(request.draft_id()));
  return Mutate<v1::CommitObjectResponse>(shard, std::move(request), control);
}

absl::StatusOr<v1::AbortWriteResponse> MetadataClient::AbortWrite(v1::AbortWriteRequest request,
                                                                  const CallControl& control) {
  const ShardId shard = ShardOf(DraftId(request.draft_id()));
  return Mutate<v1::AbortWriteResponse>(shard, std::move(request), control);
}

absl::StatusOr<v1::SetReplicationResponse> MetadataClient::SetReplication(
    v1::SetReplicationRequest request, const CallControl& control) {
  ASSIGN_OR_RETURN(const ShardId shard, ShardOfKey(request.key()));
  return Mutate<v1::SetReplicationResponse>(shard, std::move(request), control);
}

absl::StatusOr<v1::CheckBalanceResponse> MetadataClient::CheckBalance(GroupId group,
                                                                      const CallControl& control) {
  return Read<v1::CheckBalanceResponse>(Target(group), v1::CheckBalanceRequest(), control);
}

template <typename Response, typename Request>
absl::StatusOr<Response> MetadataClient::AskLeader(GroupId group, const Request& request,
                                                   const CallControl& control) {
  return Read<Response>(Target(group), request, control);
}
#define BALLAST_ASK_LEADER(Method)                                         \
  template absl::StatusOr<v1::Method##Response> MetadataClient::AskLeader( \
      GroupId group, const v1::Method##Request& request, const CallControl& control)
BALLAST_ASK_LEADER(GetMaintenance);
BALLAST_ASK_LEADER(PlanRebalance);
BALLAST_ASK_LEADER(StartRebalance);
BALLAST_ASK_LEADER(StopRebalance);
BALLAST_ASK_LEADER(ReleaseLossBreaker);
BALLAST_ASK_LEADER(Explain);
BALLAST_ASK_LEADER(Fsck);
BALLAST_ASK_LEADER(PurgeQuarantined);
#undef BALLAST_ASK_LEADER

}  // namespace ballast::client
