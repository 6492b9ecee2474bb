// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/copy_table.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast::master {
namespace {

constexpr uint64_t kAbsentHeartbeats = 2;

absl::Status Failed(absl::string_view why) { return MakeError(v1::REASON_COPY_FAILED, why); }
absl::Status ChunkNotFound() {
  return MakeError(v1::REASON_CHUNK_NOT_FOUND, "this group has no such chunk");
}
// Not an outcome: the task waits.
absl::Status Wait(absl::string_view for_what) {
  return NotReadyError(for_what, absl::ZeroDuration());
}
bool MustWait(const absl::Status& status) { return ReasonOf(status) == v1::REASON_NOT_READY; }

void Release(absl::btree_map<ServerIndex, size_t>& counts, ServerIndex server) {
  const auto it = counts.find(server);
  CHECK(it != counts.end());
  if (--it->second == 0) {
    counts.erase(it);
  }
}

size_t CountOf(const absl::btree_map<ServerIndex, size_t>& counts, ServerIndex server) {
  const auto it = counts.find(server);
  return it == counts.end() ? 0 : it->second;
}

// What the task fails with when its target could not do what it was told.
absl::Status FailureOf(const absl::Status& result) {
  const v1::Reason reason = ReasonOf(result);
  const std::string text = absl::StrCat("the target: ", result.message());
  if (reason == v1::REASON_NO_SPACE) {
    return MakeError(reason, text);
  }
  return reason == v1::REASON_CHUNK_EXISTS ? MakeError(v1::REASON_REPLICA_EXISTS, text)
                                           : Failed(text);
}

}  // namespace

absl::string_view CopyPurposeName(CopyPurpose purpose) {
  switch (purpose) {
    case CopyPurpose::kRequested:
      return "requested";
    case CopyPurpose::kRepair:
      return "repair";
    case CopyPurpose::kRebalance:
      return "rebalance";
    case CopyPurpose::kDrain:
      return "drain";
  }
  return "";
}

absl::StatusOr<CopyId> CopyTable::Offer(const CopyTask& task, SteadyTime now) {
  if (waiting_count() >= limits_.waiting_max) {
    v1::ErrorDetail detail;
    detail.set_reason(v1::REASON_OVERLOADED);
    detail.set_retry_after_ms(1000);
    return MakeError(detail, "too many copies wait");
  }
  const CopyId id = ++last_id_;
  Copy& copy = copies_[id];
  copy.task = task;
  copy.since = now;
  std::deque<CopyId>& same_chunk = by_chunk_[task.handle];
  same_chunk.push_back(id);
  if (same_chunk.size() == 1) {
    first_waiting_.insert(id);
  }
  return id;
}

void CopyTable::OnOrdered(CopyId id, uint64_t command_id) {
  const auto it = copies_.find(id);
  if (it == copies_.end() || it->second.state != State::kOrdered) {
    return;
  }
  it->second.ordered.push_back(command_id);
  by_command_[command_id] = id;
}

void CopyTable::OnResult(ServerIndex server, uint64_t command_id, const absl::Status& status,
                         uint64_t bytes) {
  const auto found = by_command_.find(command_id);
  if (found == by_command_.end()) {
    return;
  }
  Copy& copy = copies_.at(found->second);
  if (copy.task.target != server || copy.state != State::kOrdered || copy.result.has_value()) {
    return;  // another server's claim, or the result of a command that was doubled
  }
  copy.result = status;
  copy.bytes = std::max(copy.bytes, bytes);
}

void CopyTable::OnLogged(CopyId id, const absl::Status& status) {
  const auto it = copies_.find(id);
  if (it != copies_.end() && it->second.state == State::kLogging) {
    it->second.result = status;
  }
}

void CopyTable::Step(const CopyView& view, SteadyTime now, CopyEffects& effects) {
  const std::vector<CopyId> under_way(under_way_.begin(), under_way_.end());
  for (CopyId id : under_way) {
    Examine(id, copies_.at(id), view, now, effects);
  }
  BeginSome(view, now, effects);
}

void CopyTable::Examine(CopyId id, Copy& copy, const CopyView& view, SteadyTime now,
                        CopyEffects& effects) {
  switch (copy.state) {
    case State::kWaiting:
      return;
    case State::kOrdered:
      ExamineOrdered(id, copy, view, now, effects);
      return;
    case State::kReporting:
      ExamineReporting(id, copy, view, now, effects);
      return;
    case State::kLogging:
      if (!copy.result.has_value()) {
        return;
      }
      if (ReasonOf(*copy.result) == v1::REASON_OVERLOADED) {
        copy.result.reset();
        copy.state = State::kReporting;  // `since` stays, so that its patience ends
        return;
      }
      Finish(id,
             copy.result->ok() && !view.FindChunk(copy.task.handle).has_value() ? ChunkNotFound()
                                                                                : *copy.result,
             effects);
      return;
  }
}

// --- ordered -------------------------------------------------------------------------------------

absl::InlinedVector<ServerIndex, ChunkRecord::kSlots> CopyTable::SourcesOf(
    const CopyTask& task, const ChunkStanding& chunk) const {
  // Alive before suspect, verified before not, idle before busy.
  using Choice = std::tuple<bool, bool, size_t, ServerIndex>;
  absl::InlinedVector<Choice, ChunkRecord::kSlots> choices;
  for (const ReplicaStanding& replica : chunk.replicas) {
    if (replica.counts && replica.server != task.target) {
      choices.emplace_back(!replica.alive, !replica.verified, CountOf(sources_, replica.server),
                           replica.server);
    }
  }
  std::sort(choices.begin(), choices.end());
  absl::InlinedVector<ServerIndex, ChunkRecord::kSlots> sources;
  for (const Choice& choice : choices) {
    sources.push_back(std::get<ServerIndex>(choice));
  }
  return sources;
}

void CopyTable::ExamineOrdered(CopyId id, Copy& copy, const CopyView& view, SteadyTime now,
                               CopyEffects& effects) {
  const std::optional<ChunkStanding> chunk = view.FindChunk(copy.task.handle);
  if (!chunk.has_value()) {
    Finish(id, ChunkNotFound(), effects);
    return;
  }
  const ServerStanding target = view.FindServer(copy.task.target);
  if (copy.result.has_value()) {
    const absl::Status result = *std::exchange(copy.result, std::nullopt);
    if (!result.ok()) {
      Finish(id, FailureOf(result), effects);
      return;
    }
    copy.state = State::kReporting;
    copy.since = now;
    copy.heartbeat_count = target.heartbeat_count;
    ExamineReporting(id, copy, view, now, effects);
    return;
  }
  if (target.gone() || target.holder != copy.holder) {
    Finish(id, Failed(target.gone() ? "the target is gone" : "the target was restarted"), effects);
    return;
  }
  CopyEffects::Replicate order{id, copy.task, chunk->facts, SourcesOf(copy.task, *chunk), false};
  if (order.sources.empty()) {
    Finish(id, Failed("no replica is left to copy from"), effects);
  } else if (!view.IsUnderWay(copy.task.target, OrderKind::kReplicate, copy.task.handle)) {
    if (copy.ordered.size() >= static_cast<size_t>(limits_.orders_max)) {
      Finish(id, Failed("the target does not answer"), effects);
    } else {
      effects.replicates.push_back(std::move(order));
    }
  }
}

// --- reporting -----------------------------------------------------------------------------------

absl::Status CopyTable::JudgeTarget(const Copy& copy, const ChunkStanding& chunk,
                                    const CopyView& view, SteadyTime now,
                                    CopyEffects& effects) const {
  const ServerStanding target = view.FindServer(copy.task.target);
  if (target.gone()) {
    return Failed("the target is gone");
  }
  if (!view.IsListComplete(copy.task.target, copy.task.handle.shard())) {
    return Wait("the target's list");
  }
  const ReplicaStanding* const replica = chunk.Find(copy.task.target);
  if (replica != nullptr && replica->corrupt) {
    return Failed("the target reports the new replica corrupt");
  }
  if (replica == nullptr || !replica->counts) {
    // Reported a moment after its result, or lost. The same rule as for logged locations.
    const bool absent = now - copy.since >= limits_.absence_patience &&
                        target.heartbeat_count >= copy.heartbeat_count + kAbsentHeartbeats;
    return absent ? Failed("the target does not report the new replica") : Wait("its report");
  }
  if (!replica->verified) {
    effects.verifies.push_back({copy.task.target, copy.task.handle});
    return Wait("its verification");
  }
  return absl::OkStatus();
}

absl::Status CopyTable::JudgeSource(const Copy& copy, const ChunkStanding& chunk,
                                    const CopyView& view, CopyEffects& effects) const {
  const ReplicaStanding* const source = chunk.Find(copy.task.source);
  if (source == nullptr || !source->counts) {
    return Failed("the source's replica is gone");
  }
  uint32_t firm = 0;
  uint32_t possible = 0;
  for (const ReplicaStanding& replica : chunk.replicas) {
    if (replica.server != copy.task.source) {
      firm += replica.firm() ? 1 : 0;
      possible += replica.counts || replica.expected ? 1 : 0;
    }
  }
  if (possible < copy.keep) {
    return Failed("another replica was lost meanwhile, so the source's is kept");
  }
  if (!view.IsListComplete(copy.task.source, copy.task.handle.shard())) {
    return Wait("the source's list");
  }
  if (firm >= copy.keep) {
    return absl::OkStatus();
  }
  for (const ReplicaStanding& replica : chunk.replicas) {
    if (replica.server != copy.task.source && replica.counts && !replica.verified) {
      effects.verifies.push_back({replica.server, copy.task.handle});
    }
  }
  return Wait("the verification of others");
}

void CopyTable::ExamineReporting(CopyId id, Copy& copy, const CopyView& view, SteadyTime now,
                                 CopyEffects& effects) {
  const std::optional<ChunkStanding> chunk = view.FindChunk(copy.task.handle);
  if (!chunk.has_value()) {
    Finish(id, ChunkNotFound(), effects);
    return;
  }
  const bool is_move = copy.task.source != ServerIndex(0);
  absl::Status verdict = JudgeTarget(copy, *chunk, view, now, effects);
  if (verdict.ok() && is_move) {
    verdict = JudgeSource(copy, *chunk, view, effects);
  }
  if (MustWait(verdict)) {
    if (now - copy.since >= limits_.report_patience) {
      Finish(id, Failed(absl::StrCat("given up waiting for ", verdict.message())), effects);
    }
    return;
  }
  if (!verdict.ok()) {
    Finish(id, std::move(verdict), effects);
    return;
  }
  CopyEffects::Log log{
      id, copy.task.handle, copy.task.target, ServerIndex(0), copy.task.source, copy.keep};
  size_t logged = 0;
  for (const ReplicaStanding& replica : chunk->replicas) {
    logged += replica.logged && replica.server != copy.task.target ? 1 : 0;
  }
  if (is_move && logged >= kReplicasMax) {
    log.drop = copy.task.source;  // the trim names it anyhow
  }
  copy.state = State::kLogging;
  effects.logs.push_back(log);
}

// --- waiting -------------------------------------------------------------------------------------

absl::Status CopyTable::JudgeStart(const Copy& copy, const CopyView& view,
                                   const Granted& granted) const {
  const CopyTask& task = copy.task;
  const std::optional<ChunkStanding> chunk = view.FindChunk(task.handle);
  if (!chunk.has_value()) {
    return ChunkNotFound();
  }
  const ServerStanding target = view.FindServer(task.target);
  if (target.gone() || target.liveness == LivenessState::kSuspect) {
    return MakeError(v1::REASON_UNKNOWN_SERVER, "the target is not alive");
  }
  if (target.loading) {
    return Wait("the target is still loading");
  }
  const ShardId shard = task.handle.shard();
  if (target.liveness == LivenessState::kUnknown || !view.IsSettled(shard) ||
      !view.IsListComplete(task.target, shard)) {
    return Wait("this leader has not heard all chunk servers yet");
  }
  const ReplicaStanding* const source = chunk->Find(task.source);
  const bool is_move = task.source != ServerIndex(0);
  if (is_move && (source == nullptr || !source->counts)) {
    return MakeError(v1::REASON_REPLICA_NOT_FOUND, "the source has no replica that counts");
  }
  const ReplicaStanding* const there = chunk->Find(task.target);
  if (view.HeldBytes(task.target, task.handle).has_value() ||
      view.IsTrimmed(task.target, task.handle) || (there != nullptr && there->logged) ||
      view.IsUnderWay(task.target, OrderKind::kReplicate, task.handle) ||
      view.IsUnderWay(task.target, OrderKind::kDelete, task.handle)) {
    return MakeError(v1::REASON_REPLICA_EXISTS,
                     "the target holds, receives or is deleting the chunk");
  }
  if (!target.takes_replicas) {
    return MakeError(v1::REASON_NO_SPACE, "the target takes no new replicas");
  }
  const auto taken = granted.find(task.target);
  if (target.free_bytes <
      chunk->facts.length_bytes + (taken == granted.end() ? 0 : taken->second)) {
    return MakeError(v1::REASON_NO_SPACE, "the target has no room for the chunk");
  }
  if (chunk->full) {
    return Failed("the chunk has as many replicas as can be told apart");
  }
  return absl::OkStatus();
}

bool CopyTable::HasRoomInLimits(const CopyTask& task, ServerIndex source) const {
  return under_way_.size() < limits_.under_way_max &&
         CountOf(targets_, task.target) < limits_.per_target_max &&
         (source == ServerIndex(0) || CountOf(sources_, source) < limits_.per_source_max);
}

void CopyTable::TryBegin(CopyId id, Copy& copy, const CopyView& view, SteadyTime now,
                         Granted& granted, CopyEffects& effects) {
  if (!HasRoomInLimits(copy.task, ServerIndex(0))) {
    return;
  }
  absl::Status verdict = JudgeStart(copy, view, granted);
  if (MustWait(verdict) && now - copy.since < limits_.start_patience) {
    return;
  }
  if (!verdict.ok()) {
    Finish(id, std::move(verdict), effects);
    return;
  }
  const ChunkStanding chunk = *view.FindChunk(copy.task.handle);
  CopyEffects::Replicate order{id, copy.task, chunk.facts, SourcesOf(copy.task, chunk), true};
  if (order.sources.empty()) {
    Finish(id, Failed("no replica is left to copy from"), effects);
    return;
  }
  if (!HasRoomInLimits(copy.task, order.sources.front())) {
    return;
  }
  uint32_t before = 0;
  for (const ReplicaStanding& replica : chunk.replicas) {
    before += replica.counts || replica.expected ? 1 : 0;
  }
  copy.keep = std::min(chunk.facts.wanted_replicas, before);
  copy.state = State::kOrdered;
  copy.since = now;
  copy.counted_source = order.sources.front();
  copy.holder = view.FindServer(copy.task.target).holder;
  ++targets_[copy.task.target];
  ++sources_[copy.counted_source];
  granted[copy.task.target] += chunk.facts.length_bytes;
  under_way_.insert(id);
  first_waiting_.erase(id);
  effects.replicates.push_back(std::move(order));
}

void CopyTable::BeginSome(const CopyView& view, SteadyTime now, CopyEffects& effects) {
  // Round and round, so that tasks that cannot begin do not hide those behind them.
  std::vector<CopyId> examined;
  const auto take = [&](auto from, auto to) {
    while (from != to && examined.size() < limits_.examined_max) {
      examined.push_back(*from++);
    }
    return from;
  };
  const auto middle = first_waiting_.lower_bound(next_waiting_);
  auto next = take(middle, first_waiting_.end());
  if (next == first_waiting_.end()) {
    next = take(first_waiting_.begin(), middle);
  }
  next_waiting_ = next == first_waiting_.end() ? 0 : *next;
  Granted granted;
  for (CopyId id : examined) {
    TryBegin(id, copies_.at(id), view, now, granted, effects);
  }
}

void CopyTable::Finish(CopyId id, absl::Status status, CopyEffects& effects) {
  const auto it = copies_.find(id);
  CHECK(it != copies_.end());
  Copy& copy = it->second;
  if (under_way_.erase(id) > 0) {
    Release(targets_, copy.task.target);
    Release(sources_, copy.counted_source);
  }
  first_waiting_.erase(id);
  for (uint64_t command : copy.ordered) {
    by_command_.erase(command);
  }
  const auto same_chunk = by_chunk_.find(copy.task.handle);
  CHECK_EQ(same_chunk->second.front(), id);
  same_chunk->second.pop_front();
  if (same_chunk->second.empty()) {
    by_chunk_.erase(same_chunk);
  } else {
    first_waiting_.insert(same_chunk->second.front());
  }
  effects.finished.push_back({id, copy.task, {std::move(status), copy.bytes}});
  copies_.erase(it);
}

}  // namespace ballast::master
