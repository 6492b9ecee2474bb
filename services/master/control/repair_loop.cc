// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/repair_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/types/error.h"
#include "services/master/core/leader_copy_view.h"

namespace ballast::master {
namespace {

// Looked at when copies have ended: their chunks, and a little of the walk.
constexpr size_t kNotedStep = 64;
constexpr size_t kOffersMin = 16;

CopyPurpose PurposeOf(ChunkNeed need) {
  return need == ChunkNeed::kDrain ? CopyPurpose::kDrain : CopyPurpose::kRepair;
}

}  // namespace

RepairLoop::RepairLoop(Executor& executor, LiveView& view, ClusterPictures& pictures,
                       CopyDesk& copies, HeartbeatIntake& intake, Proposer& proposer, uint64_t seed,
                       RepairLimits limits)
    : executor_(executor),
      view_(view),
      pictures_(pictures),
      copies_(copies),
      orders_(view, intake),
      intake_(intake),
      proposer_(proposer),
      rng_(seed),
      limits_(limits) {}

RepairLoop::Term& RepairLoop::Now() {
  if (term_.number != view_.leader()->term()) {
    term_ = Term();
    term_.number = view_.leader()->term();
    term_.last_change = view_.Now();
    term_.fresh_since = view_.Now();
    term_.registry_version = view_.directory().registry().version();
    term_.queue.BeginRound();
  }
  return term_;
}

// --- events --------------------------------------------------------------------------------------

double RepairLoop::CapacityShare(ServerIndex server) const {
  // Those that were not heard in this term count as the mean of the others.
  double sum = 0;
  double reported = 0;
  double registered = 0;
  for (const v1::RegisteredServer& entry : view_.directory().registry().servers()) {
    if (entry.state() == v1::SERVER_STATE_REMOVED || entry.no_placement()) {
      continue;
    }
    ++registered;
    const ServerReport* const report =
        view_.leader()->FindReport(ServerIndex(entry.server_index()));
    if (report != nullptr) {
      ++reported;
      sum += static_cast<double>(report->capacity_bytes);
    }
  }
  const ServerReport* const own = view_.leader()->FindReport(server);
  if (own == nullptr || sum == 0) {
    return registered == 0 ? 0 : 1 / registered;
  }
  return static_cast<double>(own->capacity_bytes) / (sum * registered / reported);
}

void RepairLoop::OnTransition(const Liveness::Transition& change) {
  Term& term = Now();
  const bool died = change.to == LivenessState::kDead;
  if (!died && change.from != LivenessState::kDead) {
    return;
  }
  const SteadyTime now = view_.Now();
  if (died) {
    const bool was_open = term.breaker.open();
    const absl::Duration silence =
        view_.leader()->liveness.SinceHeartbeat(change.server, now).value_or(absl::ZeroDuration());
    term.breaker.OnDead(change.server, CapacityShare(change.server), now - silence, now);
    if (term.breaker.open() && !was_open) {
      LogWarning("master.loss_breaker_opened", {{"silent_servers", term.breaker.silent_count()}});
    }
  } else {
    term.breaker.OnBack(change.server);
  }
  term.last_change = now;
  term.fresh_since = now;
  term.queue.BeginRound();
}

void RepairLoop::OnRegistryChanged() {
  Term& term = Now();
  for (const v1::RegisteredServer& server : view_.directory().registry().servers()) {
    if (server.state() == v1::SERVER_STATE_REMOVED) {
      term.breaker.OnBack(ServerIndex(server.server_index()));
      term.drains.erase(ServerIndex(server.server_index()));
    }
  }
  term.fresh_since = view_.Now();
  term.queue.BeginRound();
}

void RepairLoop::Note(absl::Span<const ChunkHandle> handles) { Now().queue.Note(handles); }

void RepairLoop::ReleaseBreaker() {
  Term& term = Now();
  term.breaker.Release();
  term.queue.BeginRound();
}

// --- the walk ------------------------------------------------------------------------------------

void RepairLoop::Tick() {
  Term& term = Now();
  term.breaker.Tick(view_.Now());
  if (term.registry_version != view_.directory().registry().version()) {
    term.registry_version = view_.directory().registry().version();
    OnRegistryChanged();
  }
  servers_ = pictures_.Servers();
  copies_.SetLimits(
      static_cast<size_t>(std::count_if(servers_.servers().begin(), servers_.servers().end(),
                                        [](const ServerView& server) { return server.accepts; })));
  Walk(limits_.examined_max);
  SeeReported(term);
  Repair();
  WalkOn();
}

void RepairLoop::SeeReported(Term& term) {
  if (term.round == 0 || term.queue.counts().unsettled_shards > 0) {
    term.counted_from.reset();
  } else if (!term.counted_from.has_value()) {
    // The round under way may have passed by what came last.
    term.counted_from = view_.leader()->garbage.rounds() + 2;
  }
}

void RepairLoop::Walk(size_t examine_max) {
  Term& term = Now();
  const auto lens = [this](ShardId shard) { return pictures_.LensOf(shard); };
  term.queue.Step({view_.catalog(), servers_, lens, view_.HeatEpoch()}, examine_max);
  if (term.queue.rounds() != term.round) {
    term.round = term.queue.rounds();
    SeeRound(term);
  }
}

// A fresh round goes on in turns of its own, between which everything else has its turn.
void RepairLoop::WalkOn() {
  if (!term_.queue.fresh_round() || std::exchange(walking_, true)) {
    return;
  }
  executor_.Post([this] {
    walking_ = false;
    if (view_.leader() == nullptr || term_.number != view_.leader()->term()) {
      return;
    }
    Walk(limits_.examined_fresh_max);
    Repair();
    WalkOn();
  });
}

void RepairLoop::SeeRound(Term& term) {
  for (auto it = term.blocked.begin(); it != term.blocked.end();) {
    const Blocked& blocked = it->second;
    const bool old = blocked.round + 1 < term.round && blocked.until <= view_.Now();
    it = old ? term.blocked.erase(it) : std::next(it);
  }
  const auto& draining = term.queue.counts().draining;
  for (const ServerView& server : servers_.servers()) {
    if (!server.draining) {
      term.drains.erase(server.server);
      continue;
    }
    DrainProgress& progress = term.drains[server.server];
    const auto left = draining.find(server.server);
    const uint64_t bytes = left == draining.end() ? 0 : left->second.bytes;
    progress.bytes_most = std::max(progress.bytes_most, bytes);
    const double pct =
        progress.bytes_most == 0
            ? 100
            : 100 - 100 * static_cast<double>(bytes) / static_cast<double>(progress.bytes_most);
    progress.pct = std::max(progress.pct, pct);
  }
}

// --- repair --------------------------------------------------------------------------------------

void RepairLoop::Repair() {
  Term& term = Now();
  const SteadyTime now = view_.Now();
  const bool searching = term.queue.fresh_round() && now - term.fresh_since < limits_.urgent_first;
  const bool quiet = now - term.last_change >=
                     view_.leader()->liveness.limits().interval * limits_.surplus_hold_intervals;
  const NeedClass last = term.breaker.open() || searching ? NeedClass::kOneLeft
                         : !WhyNotTrim().empty()          ? NeedClass::kMoreLeft
                         : quiet                          ? NeedClass::kSurplus
                                                          : NeedClass::kDamaged;
  if (!term.queue.HasNeeds(NeedClass::kOneLeft, last)) {
    return;
  }
  for (size_t budget = 0; budget < kCopyBudgets; ++budget) {
    loads_[budget] = copies_.LoadsOf(servers_, static_cast<CopyBudget>(budget));
  }
  // Every plan of a copy looks at all servers.
  const size_t offers_max = std::clamp(limits_.servers_examined_max / (servers_.size() + 1),
                                       kOffersMin, limits_.offers_max);
  const bool more = term.queue.Offer(
      NeedClass::kOneLeft, last, offers_max, std::min(limits_.busy_max, offers_max / 4),
      [this](ChunkHandle handle, NeedClass) { return Take(handle); });
  intake_.Flush();
  WakeWhenLanesFree();
  if (more) {
    RepairSoon();
  }
}

void RepairLoop::RepairSoon() {
  if (std::exchange(repairing_, true)) {
    return;
  }
  executor_.Post([this] {
    repairing_ = false;
    if (view_.leader() == nullptr || term_.number != view_.leader()->term()) {
      return;
    }
    servers_ = pictures_.Servers();
    Walk(kNotedStep);
    Repair();
  });
}

void RepairLoop::WakeWhenLanesFree() {
  std::optional<SteadyTime> next = copies_.NextFree(CopyBudget::kRepair);
  const std::optional<SteadyTime> other = copies_.NextFree(CopyBudget::kRebalance);
  if (!next.has_value() || (other.has_value() && *other < *next)) {
    next = other;
  }
  if (!next.has_value() || std::exchange(waking_, true)) {
    return;
  }
  executor_.RunAfter(*next - view_.Now(), [this] {
    waking_ = false;
    if (view_.leader() != nullptr && term_.number == view_.leader()->term()) {
      Repair();
    }
  });
}

std::optional<ChunkPicture> RepairLoop::Picture(ChunkHandle handle) {
  ChunkTable* const table = view_.catalog().chunks(handle.shard());
  const ChunkRecord* const record = table == nullptr ? nullptr : table->Find(handle.sequence());
  const ShardLens* const lens = record == nullptr ? nullptr : pictures_.LensOf(handle.shard());
  if (lens == nullptr) {
    return std::nullopt;
  }
  return PictureOf(servers_, *lens, handle, *record);
}

RepairQueue::Verdict RepairLoop::Take(ChunkHandle handle) {
  // A copy under way changes what the chunk needs; it is looked at again when that has ended.
  if (view_.leader()->copies.HasChunk(handle)) {
    return RepairQueue::Verdict::kTaken;
  }
  const auto blocked = term_.blocked.find(handle);
  if (blocked != term_.blocked.end() && view_.Now() < blocked->second.until) {
    return RepairQueue::Verdict::kBlocked;
  }
  const std::optional<ChunkPicture> picture = Picture(handle);
  const ChunkNeed need = picture.has_value() ? Assess(*picture).need : ChunkNeed::kNone;
  switch (need) {
    case ChunkNeed::kCopy:
    case ChunkNeed::kDrain:
      return Copy(*picture, need);
    case ChunkNeed::kTrim:
      return Trim(*picture, ChooseSurplus(servers_, *picture), picture->wanted_replicas);
    case ChunkNeed::kDamaged:
      return TrimDamaged(*picture, picture->wanted_replicas);
    case ChunkNeed::kNone:
    case ChunkNeed::kLost:
      break;
  }
  return RepairQueue::Verdict::kTaken;
}

RepairQueue::Verdict RepairLoop::Copy(const ChunkPicture& picture, ChunkNeed need) {
  const CopyPurpose purpose = PurposeOf(need);
  std::vector<CopyLoad>& loads = loads_[static_cast<size_t>(BudgetOf(purpose))];
  const absl::StatusOr<PlannedCopy> planned =
      PlanCopy(servers_, loads, limits_.slots, picture, rng_);
  if (!planned.ok()) {
    if (ReasonOf(planned.status()) == v1::REASON_OVERLOADED) {
      return RepairQueue::Verdict::kBusy;
    }
    // No server can take it, but one with a damaged replica could if that were gone.
    const bool may_make_room = picture.any_damaged() && picture.counting() == picture.present() &&
                               WhyNotRebalance().empty();
    const RepairQueue::Verdict blocked =
        Block(picture.handle, planned.status(), absl::ZeroDuration());
    return may_make_room ? TrimDamaged(picture, static_cast<uint32_t>(picture.counting()))
                         : blocked;
  }
  const CopyTask task{picture.handle, planned->target, planned->trim_from, purpose};
  const bool offered =
      copies_.TryOffer(task, planned->length_bytes, planned->sources.front(),
                       [this, handle = picture.handle](const absl::Status& status, uint64_t) {
                         if (status.ok()) {
                           Now().blocked.erase(handle);
                         } else {
                           Block(handle, status, view_.leader()->liveness.limits().interval);
                         }
                         Now().queue.Note({handle});
                         RepairSoon();
                       });
  if (!offered) {
    return RepairQueue::Verdict::kBusy;
  }
  CopyLoad& target = loads[static_cast<size_t>(servers_.PositionOf(planned->target))];
  ++target.incoming;
  target.incoming_bytes += planned->length_bytes;
  ++loads[static_cast<size_t>(servers_.PositionOf(planned->sources.front()))].outgoing;
  return RepairQueue::Verdict::kTaken;
}

RepairQueue::Verdict RepairLoop::Block(ChunkHandle handle, const absl::Status& why,
                                       absl::Duration patience) {
  const size_t most = patience > absl::ZeroDuration() ? limits_.back_offs_max : limits_.reasons_max;
  if (term_.blocked.size() < most || term_.blocked.contains(handle)) {
    term_.blocked[handle] = {term_.round, std::string(why.message()), view_.Now() + patience};
  }
  return RepairQueue::Verdict::kBlocked;
}

RepairQueue::Verdict RepairLoop::TrimDamaged(const ChunkPicture& picture, uint32_t keep) {
  for (const ReplicaView& replica : picture.replicas) {
    const std::optional<ReplicaFacts> held =
        replica.damaged ? view_.leader()->replicas.HeldFacts(replica.server, picture.handle)
                        : std::nullopt;
    // One that is whole and has other facts contradicts the metadata: people must look at that.
    if (held.has_value() && held->corrupt) {
      return Trim(picture, replica.server, keep);
    }
  }
  return RepairQueue::Verdict::kTaken;
}

// One replica too many, or a damaged one: trimmed once `keep` others are firm. Those that count and
// were not verified lately are verified first, so that what is kept is known to be sound.
RepairQueue::Verdict RepairLoop::Trim(const ChunkPicture& picture, ServerIndex victim,
                                      uint32_t keep) {
  const TrimSet* const trims = view_.catalog().trims(picture.handle.shard());
  const std::optional<ChunkStanding> chunk =
      LeaderCopyView(*view_.leader(), view_.catalog()).FindChunk(picture.handle);
  if (victim == ServerIndex(0) || trims == nullptr || !chunk.has_value()) {
    return RepairQueue::Verdict::kTaken;
  }
  uint32_t firm = 0;
  bool verifying = false;
  for (const ReplicaStanding& replica : chunk->replicas) {
    if (replica.trimmed) {
      return RepairQueue::Verdict::kTaken;  // one at a time
    }
    if (replica.server == victim) {
      continue;
    }
    firm += replica.firm();
    if (replica.counts && !replica.verified) {
      v1::Command command;
      command.set_handle(picture.handle.value());
      command.mutable_verify();
      orders_.Order(replica.server, std::move(command), limits_.verifies_under_way_max);
      verifying = true;
    }
  }
  if (firm < keep) {
    return verifying ? RepairQueue::Verdict::kBusy : RepairQueue::Verdict::kTaken;
  }
  Term& term = Now();
  if (term.trims_proposed >= limits_.trims_proposed_max) {
    return RepairQueue::Verdict::kBusy;
  }
  ++term.trims_proposed;
  mlog::Command command;
  command.set_shard(picture.handle.shard().value());
  command.mutable_trim()->set_handle(picture.handle.value());
  command.mutable_trim()->set_server_index(victim.value());
  command.mutable_trim()->set_keep_replicas(keep);
  proposer_.Propose(std::move(command),
                    [this, number = term.number](const absl::StatusOr<mlog::Result>&) {
                      if (view_.leader() != nullptr && term_.number == number) {
                        --term_.trims_proposed;
                      }
                    });
  return RepairQueue::Verdict::kTaken;
}

// --- for people ----------------------------------------------------------------------------------

v1::RepairState RepairLoop::State() {
  Term& term = Now();
  const RepairQueue::Counts& counts = term.queue.counts();
  const CopyHistory& history = copies_.history();
  const CopyHistory::Totals& totals = history.totals(CopyPurpose::kRepair);
  v1::RepairState state;
  state.set_chunks_lost(counts.lost);
  state.set_chunks_one_left(counts.needs[static_cast<size_t>(NeedClass::kOneLeft)]);
  state.set_chunks_two_left(counts.needs[static_cast<size_t>(NeedClass::kTwoLeft)]);
  state.set_chunks_more_left(counts.needs[static_cast<size_t>(NeedClass::kMoreLeft)]);
  state.set_chunks_surplus(counts.needs[static_cast<size_t>(NeedClass::kSurplus)]);
  state.set_chunks_damaged(counts.needs[static_cast<size_t>(NeedClass::kDamaged)]);
  state.set_bytes_short(counts.bytes_short);
  state.set_shards_unsettled(counts.unsettled_shards);
  state.set_copies_under_way(copies_.under_way(CopyBudget::kRepair));
  state.set_copies_done(totals.done);
  state.set_copies_failed(totals.failed);
  state.set_bytes_copied(totals.bytes);
  const uint64_t rate = history.RateOf(CopyPurpose::kRepair, view_.Now());
  state.set_bytes_per_second(rate);
  state.set_eta_ms(EtaMs(counts.bytes_short, std::nullopt, rate));
  state.set_only_last_copies(term.breaker.open());
  if (term.breaker.open()) {
    state.set_only_last_copies_ends_ms(
        absl::ToInt64Milliseconds(*term.breaker.open_until() - view_.Now()));
  }
  absl::btree_map<std::string, uint64_t> reasons;
  for (const auto& [handle, why] : term.blocked) {
    ++reasons[why.why];
  }
  for (const auto& [why, count] : reasons) {
    state.add_blocked(absl::StrCat(count, count == 1 ? " chunk: " : " chunks: ", why));
  }
  const std::string held = WhyNotTrim();
  if (!held.empty() && term.queue.HasNeeds(NeedClass::kDrain, NeedClass::kSurplus)) {
    state.add_blocked(absl::StrCat("drains, damaged and surplus replicas: ", held));
  }
  return state;
}

std::vector<v1::DrainState> RepairLoop::Drains() {
  Term& term = Now();
  std::vector<v1::DrainState> drains;
  const uint64_t rate = copies_.history().RateOf(CopyPurpose::kDrain, view_.Now());
  // Drains run side by side, so what was measured is shared by all of them.
  uint64_t all_bytes = 0;
  for (const auto& [server, left] : term.queue.counts().draining) {
    all_bytes += left.bytes;
  }
  const uint64_t server_mbps = view_.directory().settings().rebalance_server_mbps();
  for (const v1::RegisteredServer& server : view_.directory().registry().servers()) {
    if (server.state() != v1::SERVER_STATE_DRAINING) {
      continue;
    }
    const ServerIndex index(server.server_index());
    v1::DrainState& drain = drains.emplace_back();
    drain.set_server_id(server.server_id());
    drain.set_name(server.name());
    const auto left = term.queue.counts().draining.find(index);
    if (left != term.queue.counts().draining.end()) {
      drain.set_chunks_left(left->second.chunks);
      drain.set_bytes_left(left->second.bytes);
    }
    const auto progress = term.drains.find(index);
    drain.set_progress_pct(progress == term.drains.end() ? 0 : progress->second.pct);
    drain.set_done(progress != term.drains.end() && drain.chunks_left() == 0 &&
                   term.queue.counts().unsettled_shards == 0 && !term.queue.fresh_round());
    std::optional<double> by_limits;  // seconds
    if (server_mbps > 0) {
      by_limits =
          static_cast<double>(drain.bytes_left()) / (static_cast<double>(server_mbps) * 1e6);
    }
    drain.set_eta_ms(drain.bytes_left() == 0 ? 0 : EtaMs(all_bytes, by_limits, rate));
  }
  return drains;
}

std::string RepairLoop::BlockedReason(ChunkHandle handle) {
  const auto it = Now().blocked.find(handle);
  return it == term_.blocked.end() ? std::string() : it->second.why;
}

std::string RepairLoop::WhyNotRebalance() {
  const Term& term = Now();
  if (term.breaker.open()) {
    return "many servers are silent together";
  }
  return WhyNotTrim();
}

std::string RepairLoop::WhyNotTrim() const {
  const GarbagePlanner& garbage = view_.leader()->garbage;
  for (const ServerView& server : servers_.servers()) {
    if (server.managed && garbage.QuarantinedCount(server.server) > 0) {
      return "chunk servers hold chunks that this metadata cannot account for, so it may be old: "
             "'ballast fsck' names them";
    }
  }
  if (!term_.counted_from.has_value() || garbage.rounds() < *term_.counted_from) {
    return "not all servers have reported yet";
  }
  return "";
}

uint64_t RepairLoop::TrimCount() const {
  uint64_t count = 0;
  for (const ShardId shard : view_.catalog().owned_shards()) {
    const TrimSet* const trims = view_.catalog().trims(shard);
    count += trims == nullptr ? 0 : trims->size();
  }
  return count;
}

}  // namespace ballast::master
