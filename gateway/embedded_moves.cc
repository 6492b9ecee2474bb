// SPDX-License-Identifier: Apache-2.0
// EmbeddedBackend::Move: the master is asked to make the moves, and meanwhile the servers that take
// part get their commands, since nobody else fetches them.
#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/notification.h"
#include "common/base/status_macros.h"
#include "common/env/clock.h"
#include "common/types/error.h"
#include "gateway/cluster_calls.h"
#include "gateway/embedded_backend.h"

namespace ballast::gateway {
namespace {

// Between two rounds of polls; grows while nothing happens.
constexpr absl::Duration kPauseMin = absl::Milliseconds(1);
constexpr absl::Duration kPauseMax = absl::Milliseconds(20);
// How long the sources' deletes are waited for once the moves are made. What comes later is told
// with a later heartbeat.
constexpr absl::Duration kTrimPatience = absl::Seconds(3);

}  // namespace

// The move names a server and a chunk that nobody has told of: they exist, and the source has it.
absl::Status EmbeddedBackend::AdoptMove(const ChunkMove& move, std::set<RelayedServer*>* heard) {
  ASSIGN_OR_RETURN(RelayedServer* const from, relay_->FindOrRegister(move.from));
  ASSIGN_OR_RETURN(RelayedServer* const to, relay_->FindOrRegister(move.to));
  const std::vector<std::string> fresh = NewNames({move.chunk});
  for (RelayedServer* const server : {from, to}) {
    const bool gets_chunk = server == from && !fresh.empty();
    if (!heard->insert(server).second && !gets_chunk) {
      continue;
    }
    if (gets_chunk) {
      ASSIGN_OR_RETURN(HeartbeatRelay::Commands commands,
                       relay_->SendBeat(*server, ServerFacts(), absl::ZeroDuration()));
      runner_->Take(*server, std::move(commands));
      RETURN_IF_ERROR(AdoptFrom(fresh, *server));
    }
    {
      absl::MutexLock lock(&book_.mu);
      std::vector<ChunkHandle> handles;
      for (const HeldReplica& replica : book_.chunks.HeldBy(server->index)) {
        handles.push_back(replica.handle);
      }
      if (gets_chunk) {
        handles.push_back(*book_.chunks.Find(move.chunk));
      }
      book_.chunks.TakeList(server->index, handles, RealClock().SteadyNow());
    }
    ASSIGN_OR_RETURN(HeartbeatRelay::Commands commands,
                     SendLists(*server, ServerFacts(), absl::ZeroDuration()));
    runner_->Take(*server, std::move(commands));
  }
  return absl::OkStatus();
}

absl::StatusOr<EmbeddedBackend::PlannedMove> EmbeddedBackend::Plan(const ChunkMove& move) {
  PlannedMove planned;
  {
    absl::MutexLock lock(&book_.mu);
    const auto handle = book_.chunks.Find(move.chunk);
    if (!handle.has_value()) {
      return MakeError(v1::REASON_CHUNK_NOT_FOUND, absl::StrCat("no chunk ", move.chunk));
    }
    planned.handle = *handle;
  }
  planned.from = relay_->Find(move.from);
  planned.to = relay_->Find(move.to);
  if (planned.from == nullptr || planned.to == nullptr) {
    return MakeError(v1::REASON_UNKNOWN_SERVER,
                     absl::StrCat("no server ", planned.from == nullptr ? move.from : move.to));
  }
  return planned;
}

absl::StatusOr<std::vector<MoveOutcome>> EmbeddedBackend::Move(absl::Span<const ChunkMove> moves) {
  std::vector<MoveOutcome> outcomes(moves.size());
  std::vector<PlannedMove> planned;
  std::set<RelayedServer*> heard;
  for (size_t i = 0; i < moves.size(); ++i) {
    if (!heard_) {
      outcomes[i].status = AdoptMove(moves[i], &heard);
    }
    if (outcomes[i].status.ok()) {
      auto one = Plan(moves[i]);
      outcomes[i].status = one.status();
      if (one.ok()) {
        one->place = i;
        planned.push_back(*one);
      }
    }
  }
  if (!planned.empty()) {
    RunMoves(planned, &outcomes);
  }
  return outcomes;
}

void EmbeddedBackend::RunMoves(absl::Span<const PlannedMove> planned,
                               std::vector<MoveOutcome>* outcomes) {
  std::vector<v1::MoveReplicasRequest::Move> moves;
  std::set<RelayedServer*> involved;
  for (const PlannedMove& one : planned) {
    v1::MoveReplicasRequest::Move& move = moves.emplace_back();
    move.set_handle(one.handle.value());
    move.set_from_server_id(one.from->id);
    move.set_to_server_id(one.to->id);
    involved.insert({one.from, one.to});
    absl::MutexLock lock(&book_.mu);
    for (const ServerIndex holder : book_.chunks.HoldersOf(one.handle)) {
      involved.insert(relay_->FindByIndex(holder));  // may have to verify its replica
    }
  }
  absl::Notification answered;
  std::vector<client::MoveOutcome> answers;
  std::thread asking([&] {
    answers = client_->MoveReplicas(moves, MovesTimeout(moves.size()));
    answered.Notify();
  });
  PollUntil(involved, [&] { return answered.HasBeenNotified(); });
  asking.join();

  std::vector<PlannedMove> made;
  std::set<RelayedServer*> sources;
  for (size_t i = 0; i < planned.size(); ++i) {
    MoveOutcome outcome{answers[i].status, answers[i].bytes_copied};
    if (outcome.status.ok()) {
      made.push_back(planned[i]);
      sources.insert(planned[i].from);
      absl::MutexLock lock(&book_.mu);
      book_.chunks.OnMovedAway(planned[i].from->index, planned[i].handle);
    } else {
      outcome.status = InWords(outcome.status, planned[i]);
    }
    (*outcomes)[planned[i].place] = std::move(outcome);
  }
  const SteadyTime end = RealClock().SteadyNow() + kTrimPatience;
  PollUntil(sources, [&] {
    if (RealClock().SteadyNow() >= end) {
      return true;
    }
    absl::MutexLock lock(&book_.mu);
    return std::none_of(made.begin(), made.end(), [&](const PlannedMove& one) {
      return book_.chunks.Holds(one.from->index, one.handle);
    });
  });
  for (RelayedServer* const source : sources) {
    runner_->WaitForDeletes(*source, kTrimPatience);
  }
}

template <typename Done>
void EmbeddedBackend::PollUntil(const std::set<RelayedServer*>& servers, Done done) {
  absl::Duration pause = kPauseMin;
  SteadyTime beaten = RealClock().SteadyNow();
  while (!done()) {
    bool something = false;
    // Who takes part in a move works, whatever its sender is waiting for: a long move ends no
    // server.
    const bool beat = RealClock().SteadyNow() - beaten >= options_.heartbeat_interval / 2;
    beaten = beat ? RealClock().SteadyNow() : beaten;
    for (RelayedServer* const server : servers) {
      if (beat) {
        relay_->Touch(*server);
      }
      auto commands = relay_->Poll(*server);
      if (commands.ok() && !commands->empty()) {
        something = true;
        runner_->Take(*server, *std::move(commands));
      }
    }
    pause = something ? kPauseMin : std::min(pause * 3 / 2, kPauseMax);
    client::RealPacer().Wait(pause, nullptr);
  }
}

// Masters speak of handles and ids, messages of names.
absl::Status EmbeddedBackend::InWords(const absl::Status& status, const PlannedMove& move) {
  std::string chunk;
  {
    absl::MutexLock lock(&book_.mu);
    chunk = book_.chunks.NameOf(move.handle);
  }
  const std::string text = absl::StrReplaceAll(status.message(), {{move.handle.ToString(), chunk},
                                                                  {move.from->id, move.from->name},
                                                                  {move.to->id, move.to->name}});
  const auto detail = DetailOf(status);
  return detail.has_value() ? MakeError(*detail, text) : absl::Status(status.code(), text);
}

}  // namespace ballast::gateway
