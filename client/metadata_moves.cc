// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/metadata_client.h"
#include "client/outcome.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/limits.h"

// Moves of replicas: long calls that are not repeated when their answer is lost.

namespace ballast::client {
namespace {

// master_service.proto: MoveReplicasRequest.
constexpr size_t kMovesPerCallMax = 1024;

}  // namespace

struct MetadataClient::MoveState {
  struct Item {
    v1::MoveReplicasRequest::Move move;
    bool done = false;
    MoveOutcome outcome;
  };
  std::vector<Item> items;

  void Finish(size_t i, absl::Status status, uint64_t bytes_copied = 0) {
    items[i].done = true;
    items[i].outcome = {std::move(status), bytes_copied};
  }
};

std::vector<MoveOutcome> MetadataClient::MoveReplicas(
    std::vector<v1::MoveReplicasRequest::Move> moves, absl::Duration call_timeout,
    const CallControl& control) {
  MoveState state;
  for (v1::MoveReplicasRequest::Move& move : moves) {
    state.items.emplace_back().move = std::move(move);
  }
  RetryLoop loop(env_, control.limits.value_or(limits_), control.cancel);
  absl::Status status = RunMoveRound(state, call_timeout, control);
  while (!status.ok() && loop.AgainUnsent(status)) {
    status = RunMoveRound(state, call_timeout, control);
  }
  std::vector<MoveOutcome> outcomes;
  outcomes.reserve(state.items.size());
  for (size_t i = 0; i < state.items.size(); ++i) {
    if (!state.items[i].done) {
      state.Finish(i, loop.Explain(status));
    }
    outcomes.push_back(std::move(state.items[i].outcome));
  }
  return outcomes;
}

// Calls for every group with moves that are not done, the groups beside each other. OK when all are
// done; otherwise an error that tells the retry policy how long to wait.
absl::Status MetadataClient::RunMoveRound(MoveState& state, absl::Duration call_timeout,
                                          const CallControl& control) {
  absl::Status worst;
  std::map<GroupId, std::vector<size_t>> by_group;
  for (size_t i = 0; i < state.items.size(); ++i) {
    if (state.items[i].done) {
      continue;
    }
    const auto route = routing_.Find(Target(ChunkHandle(state.items[i].move.handle()).shard()));
    if (route.ok()) {
      by_group[route->group].push_back(i);
    } else if (OutcomeOf(route.status()) == TryOutcome::kFinal) {
      state.Finish(i, route.status());
    } else {
      worst = route.status();
    }
  }
  std::vector<absl::Status> statuses(by_group.size());
  std::vector<std::thread> threads;
  size_t next = 0;
  for (const auto& entry : by_group) {
    // Each thread has items and a status of its own.
    threads.emplace_back(
        [&, indexes = &entry.second, group = entry.first, status = &statuses[next++]] {
          for (size_t begin = 0; begin < indexes->size(); begin += kMovesPerCallMax) {
            const size_t end = std::min(begin + kMovesPerCallMax, indexes->size());
            status->Update(CallMoves(state, {indexes->begin() + begin, indexes->begin() + end},
                                     group, CallContext{call_timeout, control.cancel}));
          }
        });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const absl::Status& status : statuses) {
    worst.Update(status);
  }
  return worst;
}

// One call. OK if its moves are done, however they ended; otherwise none was begun.
absl::Status MetadataClient::CallMoves(MoveState& state, const std::vector<size_t>& indexes,
                                       GroupId group, const CallContext& context) {
  if (context.cancel != nullptr && context.cancel->cancelled()) {
    for (const size_t i : indexes) {
      state.Finish(i, absl::CancelledError("cancelled before it began"));
    }
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const Route route, routing_.Find(Target(group)));
  v1::MoveReplicasRequest request;
  for (const size_t i : indexes) {
    *request.add_moves() = state.items[i].move;
  }
  v1::MoveReplicasResponse response;
  absl::Status status = api_.Call(route.address, context, request, &response);
  if (status.ok() && response.outcomes_size() != static_cast<int>(indexes.size())) {
    status = absl::InternalError("the master answered another number of moves");
  }
  if (status.ok()) {
    for (size_t n = 0; n < indexes.size(); ++n) {
      const auto& outcome = response.outcomes(static_cast<int>(n));
      state.Finish(indexes[n], StatusOf(outcome), outcome.bytes_copied());
    }
    return absl::OkStatus();
  }
  LearnFrom(route, status);
  const TryOutcome outcome = OutcomeOf(status);
  if (outcome == TryOutcome::kNotExecuted) {
    return status;
  }
  for (const size_t i : indexes) {
    state.Finish(i, outcome == TryOutcome::kUnknown ? OutcomeUnknown(status.message()) : status);
  }
  return absl::OkStatus();
}

}  // namespace ballast::client
