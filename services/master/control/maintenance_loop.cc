// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/maintenance_loop.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/log.h"

namespace ballast::master {
namespace {

// A follower has nothing to do but to notice that it leads.
constexpr absl::Duration kIdleTick = absl::Milliseconds(100);

}  // namespace

MaintenanceLoop::MaintenanceLoop(Executor& executor, LiveView& view, HeartbeatIntake& intake,
                                 Proposer& proposer, CopyEngine& copies, RepairLoop& repair,
                                 RebalanceLoop& rebalance, MaintenanceLimits limits)
    : executor_(executor),
      view_(view),
      intake_(intake),
      proposer_(proposer),
      copies_(copies),
      repair_(repair),
      rebalance_(rebalance),
      desk_(view, intake),
      limits_(limits) {}

void MaintenanceLoop::Start() {
  running_ = true;
  Arm();
}

void MaintenanceLoop::Stop() {
  if (std::exchange(running_, false)) {
    executor_.Cancel(timer_);
  }
}

void MaintenanceLoop::Arm() {
  LeaderState* const leader = view_.leader();
  const absl::Duration delay = leader == nullptr ? kIdleTick : leader->liveness.limits().tick();
  timer_ = executor_.RunAfter(delay, [this] {
    Tick();
    if (running_) {
      Arm();
    }
  });
}

void MaintenanceLoop::Tick() {
  LeaderState* const leader = view_.leader();
  if (leader == nullptr) {
    return;
  }
  SeeLiveness(*leader);
  leader->ledger.Tick(view_.Now());
  leader->ExpirePromises(view_.Now());
  OrderDeletes(*leader);
  OrderVerifies();
  copies_.Step();
  repair_.Tick();
  rebalance_.Tick(repair_.WhyNotRebalance());
  intake_.Flush();
  CorrectLocations(*leader);
}

void MaintenanceLoop::SeeLiveness(LeaderState& leader) {
  leader.liveness.Tick(view_.Now());
  for (const Liveness::Transition& change : leader.liveness.TakeTransitions()) {
    repair_.OnTransition(change);
    const v1::RegisteredServer* const server = view_.directory().Find(change.server);
    const bool matters = change.to == LivenessState::kDead || change.from == LivenessState::kDead;
    Log(matters ? LogLevel::kWarning : LogLevel::kInfo, "master.server_liveness",
        {{"server", server == nullptr ? std::string() : server->server_id()},
         {"index", change.server.value()},
         {"from", LivenessName(change.from)},
         {"to", LivenessName(change.to)}});
  }
}

void MaintenanceLoop::OrderDeletes(LeaderState& leader) {
  // Handles come shard by shard, so one answer serves many of them.
  std::optional<std::pair<ShardId, bool>> settled;
  const auto is_settled = [&](ShardId shard) {
    if (!settled.has_value() || settled->first != shard) {
      settled.emplace(shard, leader.IsSettled(shard));
    }
    return settled->second;
  };
  const auto is_alive = [&](ServerIndex server) {
    return leader.liveness.state(server) == LivenessState::kAlive;
  };
  leader.garbage.Step(leader.replicas, view_.catalog(), {/*leads=*/true, is_alive, is_settled},
                      limits_.garbage_examined_max, [&](const GarbageReplica& garbage) {
                        v1::Command command;
                        command.set_handle(garbage.handle.value());
                        v1::Command::Delete& order = *command.mutable_delete_replica();
                        order.set_length_bytes(garbage.length_bytes);
                        order.set_cause(v1::Command::Delete::CAUSE_GARBAGE);
                        desk_.Order(garbage.server, std::move(command),
                                    limits_.deletes_under_way_max);
                      });
}

void MaintenanceLoop::OrderVerifies() {
  for (const LiveView::Complaint& complaint : view_.TakeComplaints()) {
    v1::Command command;
    command.set_handle(complaint.handle.value());
    command.mutable_verify();
    desk_.Order(complaint.server, std::move(command), limits_.verifies_under_way_max);
  }
}

void MaintenanceLoop::CorrectLocations(LeaderState& leader) {
  if (proposed_ > 0) {
    return;
  }
  const auto liveness = [&](ServerIndex server) { return leader.liveness.state(server); };
  const auto heartbeats = [&](ServerIndex server) {
    return leader.liveness.heartbeat_count(server);
  };
  const std::vector<LocationChange> changes = leader.locations.Step(
      leader.replicas, view_.catalog(),
      {liveness, heartbeats, view_.Now(), leader.liveness.limits().interval * 2},
      limits_.chunks_examined_max, limits_.location_changes_max);
  if (changes.empty()) {
    return;
  }
  std::vector<mlog::Command> commands;  // one a shard
  for (const LocationChange& change : changes) {
    const uint32_t shard = change.handle.shard().value();
    if (commands.empty() || commands.back().shard() != shard) {
      commands.emplace_back().set_shard(shard);
    }
    auto* const logged = commands.back().mutable_update_locations()->add_changes();
    logged->set_handle(change.handle.value());
    for (ServerIndex server : change.add) {
      logged->add_add_servers(server.value());
    }
    for (ServerIndex server : change.drop) {
      logged->add_drop_servers(server.value());
    }
  }
  proposed_ = commands.size();
  for (mlog::Command& command : commands) {
    // Lost or refused: derived again from the same facts.
    proposer_.Propose(std::move(command),
                      [this](const absl::StatusOr<mlog::Result>&) { --proposed_; });
  }
}

}  // namespace ballast::master
