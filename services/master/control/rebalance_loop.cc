// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/rebalance_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/types/error.h"
#include "services/master/core/heat.h"

namespace ballast::master {
namespace {

constexpr size_t kDryRunsMax = 4;

double Spread(const std::vector<double>& fractions) {
  if (fractions.empty()) {
    return 0;
  }
  const auto [low, high] = std::minmax_element(fractions.begin(), fractions.end());
  return *high - *low;
}

}  // namespace

RebalanceLoop::RebalanceLoop(Executor& executor, LiveView& view, ClusterPictures& pictures,
                             CopyDesk& copies, RebalanceLimits limits)
    : executor_(executor), view_(view), pictures_(pictures), copies_(copies), limits_(limits) {}

RebalanceLoop::Term& RebalanceLoop::Now() {
  if (term_.number != view_.leader()->term()) {
    term_ = Term();
    term_.number = view_.leader()->term();
    // What servers hold is not known before; repair comes first, too.
    term_.not_before = view_.Now() + view_.leader()->liveness.limits().window();
  }
  return term_;
}

// The usual length of a chunk here, so that goals are in whole chunks.
BalanceLimits RebalanceLoop::Limits() const {
  BalanceLimits limits = limits_.balance;
  uint64_t chunks = 0;
  uint64_t bytes = 0;
  for (const ShardId shard : view_.catalog().owned_shards()) {
    if (const Shard* const found = view_.machine().FindShard(shard)) {
      chunks += found->chunks().size();
      bytes += found->chunks().length_sum();
    }
  }
  if (chunks > 0) {
    limits.chunk_bytes = std::max<uint64_t>(1, bytes / chunks);
  }
  return limits;
}

bool RebalanceLoop::IsShared() const {
  return view_.catalog().owned_shards().size() < view_.machine().shard_count();
}

// --- episodes ------------------------------------------------------------------------------------

void RebalanceLoop::Start() {
  Now().asked = true;
  term_.stopping = false;
}

void RebalanceLoop::Stop() {
  Term& term = Now();
  term.asked = false;
  term.stopping =
      term.episode.has_value() && term.episode->phase() != RebalanceEpisode::Phase::kEnded;
}

void RebalanceLoop::Tick(const std::string& held) {
  StepDryRuns();
  Term& term = Now();
  term.held = held;
  if (!term.episode.has_value() || term.episode->phase() == RebalanceEpisode::Phase::kEnded) {
    MaybeBegin();
    return;
  }
  if (term.stopping && term.episode->progress().under_way == 0) {
    End("stopped by an operator");
    return;
  }
  PlanOn();
  if (held.empty()) {
    MoveOn();
    Settle();
  }
}

void RebalanceLoop::MaybeBegin() {
  Term& term = Now();
  const bool by_itself =
      view_.directory().settings().rebalance_auto() != 2 && view_.Now() >= term.not_before;
  if ((!term.asked && !by_itself) || !term.held.empty()) {
    return;
  }
  ClusterView servers = pictures_.Servers();
  BalanceGoal goal = PlanBalanceGoal(servers, Limits());
  if (goal.bytes() == 0 || (!goal.triggered && !term.asked)) {
    if (std::exchange(term.asked, false)) {
      term.note = "nothing to do: all servers are within the settling distance";
    }
    return;
  }
  LogInfo("master.rebalance_began", {{"bytes", goal.bytes()},
                                     {"mean_pct", goal.mean_pct},
                                     {"target_pct", goal.target_pct},
                                     {"asked", std::exchange(term.asked, false)}});
  term.note.clear();
  term.began = view_.Now();
  term.settling = false;
  term.episode.emplace(std::move(servers), std::move(goal), limits_.moves_max, IsShared());
  PlanOn();
}

void RebalanceLoop::PlanOn() {
  Term& term = Now();
  using Phase = RebalanceEpisode::Phase;
  if (!term.episode.has_value() || planning_ ||
      (term.episode->phase() != Phase::kSurveying && term.episode->phase() != Phase::kChoosing)) {
    return;
  }
  planning_ = true;
  executor_.Post([this] {
    planning_ = false;
    if (view_.leader() == nullptr || term_.number != view_.leader()->term() ||
        !term_.episode.has_value()) {
      return;
    }
    const auto lens = [this](ShardId shard) { return pictures_.LensOf(shard); };
    term_.episode->Step({view_.catalog(), term_.episode->view(), lens, view_.HeatEpoch()},
                        limits_.visits_max);
    PlanOn();
    MoveOn();
  });
}

void RebalanceLoop::MoveOn() {
  Term& term = Now();
  if (!term.episode.has_value() || term.stopping || !term.held.empty() ||
      term.episode->waiting_count() == 0) {
    return;
  }
  const ClusterView servers = pictures_.Servers();
  std::vector<CopyLoad> loads = copies_.LoadsOf(servers, CopyBudget::kRebalance);
  std::vector<PlannedMove> waiting;
  for (size_t tries = 0; tries < limits_.tries_max;) {
    const std::optional<PlannedMove> move = term.episode->NextMove();
    if (!move.has_value()) {
      break;
    }
    const int to = servers.PositionOf(move->to);
    const int from = servers.PositionOf(move->from);
    if (to < 0 || from < 0 || !servers.at(static_cast<size_t>(to)).accepts) {
      term.episode->OnMoveEnded(false, 0);
      continue;
    }
    CopyLoad& incoming = loads[static_cast<size_t>(to)];
    CopyLoad& outgoing = loads[static_cast<size_t>(from)];
    const bool room = limits_.slots.HasRoom(incoming, move->length_bytes) &&
                      outgoing.outgoing < limits_.slots.outgoing_max;
    const auto done = [this](const absl::Status& status, uint64_t bytes) {
      if (term_.episode.has_value()) {
        term_.episode->OnMoveEnded(status.ok(), bytes);
        MoveSoon();
      }
    };
    const CopyTask task{move->handle, move->to, move->from, CopyPurpose::kRebalance};
    if (!room || !copies_.TryOffer(task, move->length_bytes, move->from, done)) {
      ++tries;
      waiting.push_back(*move);
      continue;
    }
    ++incoming.incoming;
    incoming.incoming_bytes += move->length_bytes;
    ++outgoing.outgoing;
  }
  // In reverse, so that the coldest is tried first again.
  for (auto it = waiting.rbegin(); it != waiting.rend(); ++it) {
    term.episode->PutBack(*it);
  }
  const std::optional<SteadyTime> free = copies_.NextFree(CopyBudget::kRebalance);
  if (!waiting.empty() && free.has_value() && !std::exchange(waking_, true)) {
    executor_.RunAfter(*free - view_.Now(), [this] {
      waking_ = false;
      if (view_.leader() != nullptr && term_.number == view_.leader()->term()) {
        MoveOn();
      }
    });
  }
}

void RebalanceLoop::MoveSoon() {
  if (std::exchange(moving_, true)) {
    return;
  }
  executor_.Post([this] {
    moving_ = false;
    if (view_.leader() != nullptr && term_.number == view_.leader()->term()) {
      MoveOn();
    }
  });
}

bool RebalanceLoop::HeartbeatsAreFresh() {
  Term& term = Now();
  const std::vector<ServerView>& servers = term.episode->view().servers();
  const Liveness& liveness = view_.leader()->liveness;
  if (!std::exchange(term.settling, true)) {
    term.heartbeats.clear();
    for (const ServerView& server : servers) {
      term.heartbeats.push_back(liveness.heartbeat_count(server.server));
    }
    return false;
  }
  for (size_t i = 0; i < servers.size(); ++i) {
    const uint64_t count = liveness.heartbeat_count(servers[i].server);
    // One that was removed and taken back is counted from its return.
    term.heartbeats[i] = std::min(term.heartbeats[i], count);
    if (liveness.state(servers[i].server) == LivenessState::kAlive &&
        count < term.heartbeats[i] + limits_.settle_heartbeats) {
      return false;
    }
  }
  return true;
}

void RebalanceLoop::Settle() {
  Term& term = Now();
  if (!term.episode.has_value() || !term.episode->idle()) {
    term.settling = false;
    return;
  }
  if (!HeartbeatsAreFresh()) {
    return;
  }
  term.settling = false;
  ClusterView servers = pictures_.Servers();
  BalanceGoal goal = PlanBalanceGoal(servers, Limits());
  // Within the band, or as near as whole chunks come.
  const uint64_t left = goal.bytes();
  const bool stuck = term.episode->progress().plans > 1 && term.episode->waiting_count() == 0 &&
                     term.episode->progress().moves_done == 0;
  if (left == 0 || stuck || !term.episode->Replan(std::move(servers), std::move(goal))) {
    End(left == 0 ? std::string()
                  : absl::StrCat(left, " bytes could not be placed better; see 'blocked'"));
  }
}

void RebalanceLoop::End(const std::string& note) {
  Term& term = Now();
  const RebalanceEpisode::Progress& progress = term.episode->progress();
  LogInfo("master.rebalance_ended", {{"moves", progress.moves_done},
                                     {"failed", progress.moves_failed},
                                     {"bytes", progress.bytes_moved},
                                     {"plans", progress.plans},
                                     {"note", note}});
  term.episode->End();
  term.stopping = false;
  term.note = note;
  term.not_before = view_.Now() + (note.empty() ? absl::ZeroDuration()
                                                : view_.leader()->liveness.limits().interval *
                                                      limits_.pause_intervals);
}

// --- plans that are only shown -------------------------------------------------------------------

void RebalanceLoop::Plan(uint32_t moves_shown, PlanDone done) {
  if (dry_runs_.size() >= kDryRunsMax) {
    done(MakeError(v1::REASON_OVERLOADED, "too many plans are being made; try again soon"));
    return;
  }
  ClusterView servers = pictures_.Servers();
  BalanceGoal goal = PlanBalanceGoal(servers, Limits());
  dry_runs_.push_back(
      {view_.leader()->term(),
       RebalanceEpisode(std::move(servers), std::move(goal), limits_.moves_max, IsShared()),
       moves_shown, std::move(done)});
  StepDryRuns();
}

void RebalanceLoop::StepDryRuns() {
  while (!dry_runs_.empty() && !showing_) {
    DryRun& run = dry_runs_.front();
    if (view_.leader() == nullptr || run.term != view_.leader()->term()) {
      run.done(NotLeaderError(""));
      dry_runs_.pop_front();
      continue;
    }
    const auto lens = [this](ShardId shard) { return pictures_.LensOf(shard); };
    if (run.episode.Step({view_.catalog(), run.episode.view(), lens, view_.HeatEpoch()},
                         limits_.visits_max)) {
      showing_ = true;
      executor_.Post([this] {
        showing_ = false;
        StepDryRuns();
      });
      return;
    }
    run.done(Describe(run.episode, run.moves_shown));
    dry_runs_.pop_front();
  }
}

// --- for people ----------------------------------------------------------------------------------

v1::RebalanceState RebalanceLoop::State(uint32_t moves_shown) {
  Term& term = Now();
  v1::RebalanceState state;
  if (term.episode.has_value()) {
    state = Describe(*term.episode, moves_shown);
    using Phase = RebalanceEpisode::Phase;
    const Phase phase = term.episode->phase();
    state.set_phase(phase == Phase::kEnded    ? v1::RebalanceState::PHASE_IDLE
                    : phase == Phase::kMoving ? v1::RebalanceState::PHASE_MOVING
                                              : v1::RebalanceState::PHASE_PLANNING);
    if (phase == Phase::kEnded) {
      state.set_eta_ms(0);  // what failed is not tried again by this episode
    }
  } else {
    const BalanceGoal goal = PlanBalanceGoal(pictures_.Servers(), Limits());
    state.set_phase(v1::RebalanceState::PHASE_IDLE);
    state.set_triggered(goal.triggered);
    state.set_mean_pct(goal.mean_pct);
    state.set_target_pct(goal.target_pct);
  }
  const bool wanted = term.asked || view_.directory().settings().rebalance_auto() != 2 ||
                      state.phase() != v1::RebalanceState::PHASE_IDLE;
  state.set_note(wanted && !term.held.empty() ? term.held : term.note);
  return state;
}

v1::RebalanceState RebalanceLoop::Describe(const RebalanceEpisode& episode,
                                           uint32_t moves_shown) const {
  const BalanceGoal& goal = episode.goal();
  const RebalanceEpisode::Progress& progress = episode.progress();
  const auto entry_of = [this](ServerIndex server) { return view_.directory().Find(server); };
  v1::RebalanceState state;
  state.set_phase(v1::RebalanceState::PHASE_IDLE);
  state.set_triggered(goal.triggered);
  state.set_mean_pct(goal.mean_pct);
  state.set_target_pct(goal.target_pct);
  state.set_moves_planned(progress.moves_planned);
  state.set_bytes_planned(progress.bytes_planned);
  state.set_moves_done(progress.moves_done);
  state.set_moves_failed(progress.moves_failed);
  state.set_bytes_moved(progress.bytes_moved);
  state.set_moves_under_way(progress.under_way);
  std::vector<double> before;
  std::vector<double> after;
  uint64_t shed_most = 0;
  uint64_t gain_most = 0;
  for (size_t i = 0; i < episode.view().size(); ++i) {
    const ServerView& server = episode.view().at(i);
    if (!server.live || !server.managed || server.draining || server.capacity_bytes == 0) {
      continue;
    }
    const auto own = std::find_if(goal.servers.begin(), goal.servers.end(),
                                  [&](const auto& s) { return s.server == server.server; });
    const bool moves = own != goal.servers.end();
    const double shed = moves ? static_cast<double>(own->shed_bytes) : 0;
    const double gain = moves ? static_cast<double>(own->gain_bytes) : 0;
    const auto capacity = static_cast<double>(server.capacity_bytes);
    before.push_back(100 * static_cast<double>(server.used_bytes) / capacity);
    after.push_back(before.back() + 100 * (gain - shed) / capacity);
    if (!moves) {
      continue;
    }
    shed_most = std::max(shed_most, own->shed_bytes);
    gain_most = std::max(gain_most, own->gain_bytes);
    v1::RebalanceServer& row = *state.add_servers();
    if (const v1::RegisteredServer* const entry = entry_of(server.server)) {
      row.set_server_id(entry->server_id());
      row.set_name(entry->name());
    }
    row.set_utilization_pct(before.back());
    row.set_planned_pct(after.back());
    row.set_shed_bytes(own->shed_bytes);
    row.set_gain_bytes(own->gain_bytes);
  }
  state.set_spread_points(Spread(before));
  state.set_planned_spread_points(Spread(after));
  // By the limits: what one server gives or gets, and the whole.
  const v1::Settings& settings = view_.directory().settings();
  const uint64_t left =
      progress.bytes_planned - std::min(progress.bytes_planned, progress.bytes_moved);
  std::optional<double> by_limits;  // seconds
  const double done_part =
      progress.bytes_planned == 0
          ? 0
          : static_cast<double>(progress.bytes_moved) / static_cast<double>(progress.bytes_planned);
  if (settings.rebalance_server_mbps() > 0) {
    by_limits = static_cast<double>(std::max(shed_most, gain_most)) * (1 - done_part) /
                (static_cast<double>(settings.rebalance_server_mbps()) * 1e6);
  }
  if (settings.rebalance_total_mbps() > 0) {
    by_limits = std::max(
        by_limits.value_or(0),
        static_cast<double>(left) / (static_cast<double>(settings.rebalance_total_mbps()) * 1e6));
  }
  // A plan that is only shown has no rate of its own: what others do now says nothing of it.
  const uint64_t rate = &episode == (term_.episode.has_value() ? &*term_.episode : nullptr)
                            ? copies_.history().RateOf(CopyPurpose::kRebalance, view_.Now())
                            : 0;
  state.set_eta_ms(EtaMs(left, by_limits, rate));
  for (const BlockedBytes& blocked : episode.blocked()) {
    v1::RebalanceState::Blocked& row = *state.add_blocked();
    if (const v1::RegisteredServer* const entry = entry_of(blocked.server)) {
      row.set_server_id(entry->server_id());
      row.set_name(entry->name());
    }
    row.set_bytes(blocked.bytes);
    row.set_why(blocked.no_chunks
                    ? "it holds too few chunks of this cluster: its bytes are not ours to move"
                    : "no server may take the chunks it has: each holds them already, or zones "
                      "would be lost");
  }
  for (const PlannedMove& move : episode.FirstWaiting(moves_shown)) {
    v1::RebalanceState::Move& row = *state.add_moves();
    row.set_handle(move.handle.value());
    if (const v1::RegisteredServer* const entry = entry_of(move.from)) {
      row.set_from_server_id(entry->server_id());
    }
    if (const v1::RegisteredServer* const entry = entry_of(move.to)) {
      row.set_to_server_id(entry->server_id());
    }
    row.set_length_bytes(move.length_bytes);
    row.set_heat(HeatOfCode(move.heat));
  }
  return state;
}

}  // namespace ballast::master
