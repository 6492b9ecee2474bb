// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <utility>

#include "client/metadata_client.h"
#include "client/outcome.h"
#include "common/base/byte_units.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::client {
namespace {

using Operation = v1::BatchRequest::Operation;
using Outcome = v1::BatchResponse::Outcome;

// Operations of one call, below the log's limit of one entry with room for its framing.
constexpr size_t kCallBytesMax = kLogEntryBytesMax - KiB(64);

// The key that says where an operation belongs; null if its draft's id does.
const std::string* KeyOf(const Operation& operation) {
  switch (operation.op_case()) {
    case Operation::kPutInline:
      return &operation.put_inline().key();
    case Operation::kDeleteObject:
      return &operation.delete_object().key();
    case Operation::kBeginWrite:
      return &operation.begin_write().key();
    case Operation::kCommitObject:
      return &operation.commit_object().key();
    case Operation::kSetReplication:
      return &operation.set_replication().key();
    case Operation::kSealChunks:
      return nullptr;
    case Operation::kGetObject:
    case Operation::OP_NOT_SET:
      break;
  }
  return &operation.get_object().key();
}

// Null for reads.
v1::RequestId* RequestOf(Operation& operation) {
  switch (operation.op_case()) {
    case Operation::kPutInline:
      return operation.mutable_put_inline()->mutable_request();
    case Operation::kDeleteObject:
      return operation.mutable_delete_object()->mutable_request();
    case Operation::kBeginWrite:
      return operation.mutable_begin_write()->mutable_request();
    case Operation::kSealChunks:
      return operation.mutable_seal_chunks()->mutable_request();
    case Operation::kCommitObject:
      return operation.mutable_commit_object()->mutable_request();
    case Operation::kSetReplication:
      return operation.mutable_set_replication()->mutable_request();
    case Operation::kGetObject:
    case Operation::OP_NOT_SET:
      break;
  }
  return nullptr;
}

// What a call holds so far, against its limits.
class CallSize {
 public:
  // Takes the operation in if it fits; one that fits nowhere is taken by an empty call, and refused
  // by the master.
  bool TryAdd(const Operation& operation) {
    const size_t bytes = operation.ByteSizeLong() + 16;
    const size_t handles = operation.begin_write().chunk_count();
    const size_t placements = operation.begin_write().no_placement() ? 0 : handles;
    if (count_ > 0 &&
        (count_ == kBatchOperationsMax || bytes_ + bytes > kCallBytesMax ||
         handles_ + handles > kBatchHandlesMax || placements_ + placements > kBatchPlacementsMax)) {
      return false;
    }
    ++count_;
    bytes_ += bytes;
    handles_ += handles;
    placements_ += placements;
    return true;
  }

 private:
  size_t count_ = 0;
  size_t bytes_ = 0;
  size_t handles_ = 0;
  size_t placements_ = 0;
};

}  // namespace

struct MetadataClient::BatchState {
  struct Item {
    Operation operation;
    ShardId shard;
    bool has_request = false;  // its identity is drawn
    bool maybe_applied = false;
    bool done = false;
    absl::StatusOr<Outcome> result = absl::UnknownError("not tried");
  };
  std::vector<Item> items;

  void Finish(Item& item, absl::StatusOr<Outcome> result, RequestIdentity& identity) {
    if (item.has_request) {
      identity.Finish(*RequestOf(item.operation));
    }
    item.result = std::move(result);
    item.done = true;
  }
};

std::vector<absl::StatusOr<Outcome>> MetadataClient::Batch(std::vector<Operation> operations,
                                                           const CallControl& control) {
  BatchState state;
  for (Operation& operation : operations) {
    BatchState::Item& item = state.items.emplace_back();
    item.operation = std::move(operation);
    const std::string* const key = KeyOf(item.operation);
    const absl::StatusOr<ShardId> shard =
        key != nullptr ? ShardOfKey(*key)
                       : ShardOf(DraftId(item.operation.seal_chunks().draft_id()));
    if (shard.ok()) {
      item.shard = *shard;
    } else {
      item.result = shard.status();
      item.done = true;
    }
  }

  RetryLoop loop(env_, control.limits.value_or(limits_), control.cancel);
  absl::Status status = RunBatchRound(state, control);
  while (!status.ok() && loop.Again(status)) {
    status = RunBatchRound(state, control);
  }

  std::vector<absl::StatusOr<Outcome>> results;
  results.reserve(state.items.size());
  for (BatchState::Item& item : state.items) {
    if (!item.done) {
      state.Finish(item,
                   item.maybe_applied ? OutcomeUnknown(status.message()) : loop.Explain(status),
                   identity_);
    }
    results.push_back(std::move(item.result));
  }
  return results;
}

// One call for every group with pending operations. OK when none is left; otherwise an error that
// tells the retry policy how long to wait.
absl::Status MetadataClient::RunBatchRound(BatchState& state, const CallControl& control) {
  absl::Status worst;
  std::map<GroupId, std::vector<size_t>> by_group;
  for (size_t i = 0; i < state.items.size(); ++i) {
    BatchState::Item& item = state.items[i];
    if (item.done) {
      continue;
    }
    const auto route = routing_.Find(Target(item.shard));
    if (!route.ok()) {
      if (OutcomeOf(route.status()) == TryOutcome::kFinal) {
        state.Finish(item,
                     item.maybe_applied ? OutcomeUnknown(route.status().message()) : route.status(),
                     identity_);
      } else {
        worst = route.status();
      }
      continue;
    }
    if (v1::RequestId* request = RequestOf(item.operation);
        request != nullptr && !item.has_request) {
      auto drawn = BeginRequest(item.shard, control);
      if (!drawn.ok()) {
        // Opening the session has been retried as long as the limits allow.
        state.Finish(item, drawn.status(), identity_);
        continue;
      }
      *request = *std::move(drawn);
      item.has_request = true;
    }
    by_group[route->group].push_back(i);
  }
  for (const auto& [group, indexes] : by_group) {
    for (size_t begin = 0; begin < indexes.size();) {
      std::vector<size_t> some;
      CallSize size;
      while (begin < indexes.size() && size.TryAdd(state.items[indexes[begin]].operation)) {
        some.push_back(indexes[begin++]);
      }
      const absl::Status status = CallBatch(state, some, group, control);
      if (!status.ok()) {
        worst = status;
      }
    }
  }
  return worst;
}

absl::Status MetadataClient::CallBatch(BatchState& state, const std::vector<size_t>& indexes,
                                       GroupId group, const CallControl& control) {
  ASSIGN_OR_RETURN(const Route route, routing_.Find(Target(group)));
  v1::BatchRequest request;
  for (const size_t i : indexes) {
    *request.add_operations() = state.items[i].operation;
  }
  v1::BatchResponse response;
  absl::Status status =
      api_.Call(route.address, CallContext{rpc_timeout_, control.cancel}, request, &response);
  if (status.ok() && response.outcomes_size() != static_cast<int>(indexes.size())) {
    status = absl::InternalError("the master answered another number of operations");
  }
  if (!status.ok()) {
    LearnFrom(route, status);
    const TryOutcome outcome = OutcomeOf(status);
    for (const size_t i : indexes) {
      BatchState::Item& item = state.items[i];
      item.maybe_applied |= item.has_request && outcome == TryOutcome::kUnknown;
      if (outcome == TryOutcome::kFinal) {
        // The call was refused as a whole: no answer to what earlier tries may have done.
        state.Finish(item, item.maybe_applied ? OutcomeUnknown(status.message()) : status,
                     identity_);
      }
    }
    return outcome == TryOutcome::kFinal ? absl::OkStatus() : status;
  }

  absl::Status worst;
  for (size_t n = 0; n < indexes.size(); ++n) {
    BatchState::Item& item = state.items[indexes[n]];
    const absl::Status one = StatusOf(response.outcomes(static_cast<int>(n)));
    if (one.ok()) {
      state.Finish(item, response.outcomes(static_cast<int>(n)), identity_);
      continue;
    }
    if (ReasonOf(one) == v1::REASON_SESSION_EXPIRED && !item.maybe_applied) {
      // Nothing was in doubt: the next round draws an identity in a new session.
      identity_.Expire(SessionId(RequestOf(item.operation)->session_id()));
      item.has_request = false;
      worst = MakeError(v1::REASON_NOT_READY, one.message());
      continue;
    }
    switch (OutcomeOf(one)) {
      case TryOutcome::kFinal:
        state.Finish(
            item, ReasonOf(one) == v1::REASON_SESSION_EXPIRED ? OutcomeUnknown(one.message()) : one,
            identity_);
        break;
      case TryOutcome::kUnknown:
        item.maybe_applied |= item.has_request;
        [[fallthrough]];
      default:
        LearnFrom(route, one);
        worst = one;
    }
  }
  return worst;
}

}  // namespace ballast::client
