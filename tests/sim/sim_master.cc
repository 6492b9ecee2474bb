// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_master.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/types/error.h"
#include "services/master/control/object_reads.h"
#include "services/master/control/write_replies.h"
#include "services/master/core/commands.h"
#include "services/master/core/requests.h"

namespace ballast::testing {
namespace {

using master::mlog::Command;
using master::mlog::Result;

MasterAnswer Failed(const absl::Status& status) {
  MasterAnswer answer;
  answer.status = status;
  return answer;
}

}  // namespace

SimMaster::SimMaster(ChunkWorld& world, Place place, GroupLog& log,
                     std::vector<std::string> addresses)
    : world_(world),
      place_(std::move(place)),
      addresses_(std::move(addresses)),
      process_(world.sim, place_.name),
      executor_(process_.MakeExecutor()),
      machine_(world.checker.log().group(), world.checker.log().shard_count()),
      view_(world.sim, machine_, world.rng().Next()),
      proposer_(*executor_, world.sim, machine_),
      intake_(*executor_, view_, place_.cluster_id),
      poller_(*executor_, view_, intake_, proposer_),
      copies_(*executor_, view_, intake_, proposer_),
      pictures_(view_),
      copy_desk_(view_, copies_),
      repair_(*executor_, view_, pictures_, copy_desk_, intake_, proposer_, /*seed=*/1,
              place_.repair),
      rebalance_(*executor_, view_, pictures_, copy_desk_),
      maintenance_(*executor_, view_, intake_, proposer_, copies_, repair_, rebalance_),
      expiry_(*executor_, machine_, proposer_, master::ExpiryLoop::Options()) {
  world_.streams.Listen(place_.address, place_.node, place_.cluster_id, intake_, *executor_);
  log_ = log.Open(place_.member, *executor_, machine_);
  executor_->Post([this] {
    proposer_.Attach(log_.get());
    log_->SetRoleObserver([this](const ReplicatedLog::State& state) { OnRole(state); });
    maintenance_.Start();
    expiry_.Start();
    WatchShardctl();
  });
  master::LivenessLimits limits;
  limits.interval =
      absl::Milliseconds(world_.shardctl.registry().settings().heartbeat_interval_ms());
  process_.SetMoment(limits.tick_gap_max());
  process_.SetAfterTurn(
      [this] { world_.checker.CheckLiveness(place_.name, view_, process_.RunningTime()); });
}

SimMaster::~SimMaster() {
  process_.SetAfterTurn(nullptr);
  world_.streams.StopListening(place_.address);
  world_.checker.ForgetMaster(place_.name);
  log_.reset();
}

void SimMaster::OnRole(const ReplicatedLog::State& state) {
  proposer_.OnRole(state);
  const bool leads = state.role == ReplicatedLog::Role::kLeader;
  const size_t leader = state.leader.value_or(NodeId()).value();
  intake_.SetLeaderHint(
      leads || leader == 0 || leader > addresses_.size() ? std::string() : addresses_[leader - 1]);
  world_.trace(
      absl::StrCat(place_.name, leads ? " leads term " : " follows in term ", state.term.value()));
  if (view_.leader() != nullptr && (!leads || view_.leader()->term() != state.term)) {
    const absl::Status why = NotLeaderError(leads ? place_.address : std::string());
    copies_.EndTerm(why);
    view_.EndTerm();
    intake_.DropAll(why);
  }
  if (leads && view_.leader() == nullptr) {
    view_.BeginTerm(state.term);
    poller_.OnLeading();
  }
}

void SimMaster::WatchShardctl() {
  if (world_.network.Converse(place_.node, world_.shardctl.node())) {
    // The first configuration may come long after the servers' lists.
    if (!configured_ && world_.rng().OneIn(8)) {
      configured_ = true;
      poller_.OnConfiguration(world_.shardctl.config());
    }
    const v1::Registry& registry = world_.shardctl.registry();
    if (registry.version() != std::exchange(registry_version_, registry.version())) {
      expiry_.SetSessionIdle(registry.settings().session_idle_ms());
      poller_.OnRegistry(registry);
    }
  }
  executor_->RunAfter(absl::Milliseconds(world_.rng().Between(50, 300)),
                      [this] { WatchShardctl(); });
}

absl::Status SimMaster::CheckLeading() const {
  if (proposer_.leading()) {
    return absl::OkStatus();
  }
  const auto leader = log_->state().leader;
  const bool known = leader.has_value() && leader->value() <= addresses_.size();
  return NotLeaderError(known ? addresses_[leader->value() - 1] : std::string());
}

master::CommandContext SimMaster::ContextNow() {
  const v1::Settings& settings = view_.directory().settings();
  master::CommandContext context;
  context.wall_unix_ms = static_cast<uint64_t>(absl::ToUnixMillis(world_.sim.WallNow()));
  context.grace_ms = settings.grace_ms();
  context.draft_expiry_ms = settings.draft_expiry_ms();
  return context;
}

void SimMaster::Handle(MasterRequest request, MasterReply reply) {
  executor_->Post([this, request = std::move(request), reply = std::move(reply)] {
    if (const absl::Status leading = CheckLeading(); !leading.ok()) {
      reply(Failed(leading));
    } else {
      HandleNow(request, reply);
    }
  });
}

void SimMaster::OfferCopy(const master::CopyTask& task,
                          std::function<void(const absl::Status&)> done) {
  executor_->Post([this, task, done = std::move(done)] {
    if (leads()) {
      copies_.Offer(task, [done](const absl::StatusOr<master::CopyOutcome>& outcome) {
        done(outcome.ok() ? outcome->status : outcome.status());
      });
    }
  });
}

void SimMaster::AskRebalance(bool start) {
  executor_->Post([this, start] {
    if (leads()) {
      start ? rebalance_.Start() : rebalance_.Stop();
    }
  });
}

void SimMaster::Mutate(Command command, MasterReply reply, Complete complete) {
  if (const auto serving = machine_.Serving(ShardId(command.shard())); !serving.ok()) {
    reply(Failed(serving.status()));
    return;
  }
  proposer_.Propose(std::move(command), [reply = std::move(reply), complete = std::move(complete)](
                                            absl::StatusOr<Result> result) {
    MasterAnswer answer;
    answer.status = result.ok() ? master::ToStatus(*result) : result.status();
    if (answer.status.ok()) {
      answer.result = *std::move(result);
      if (complete) {
        answer.status = complete(answer);
      }
    }
    reply(std::move(answer));
  });
}

void SimMaster::Begin(const v1::BeginWriteRequest& request, MasterReply reply) {
  const ShardId shard = machine_.ShardOf(request.key());
  const v1::Settings& settings = view_.directory().settings();
  const uint32_t wanted =
      request.wanted_replicas() == 0 ? settings.default_replicas() : request.wanted_replicas();
  const uint32_t required = std::min(settings.min_replicas(), wanted);
  auto placements = view_.PlaceChunks(master::ToPlacement(request, wanted, required));
  if (!placements.ok()) {
    reply(Failed(placements.status()));
    return;
  }
  Mutate(master::ToCommand(shard, request, wanted, required, ContextNow()), std::move(reply),
         [shard, placements = *std::move(placements)](MasterAnswer& answer) {
           master::AddPlacements(shard, answer.result.allocated(), placements, answer.placed);
           return absl::OkStatus();
         });
}

void SimMaster::Allocate(const v1::AllocateChunksRequest& request, MasterReply reply) {
  const ShardId shard = master::ShardOfId(request.draft_id());
  Mutate(master::ToCommand(shard, request), std::move(reply),
         [this, shard, request](MasterAnswer& answer) -> absl::Status {
           auto placements = view_.PlaceChunks(master::ToPlacement(
               request, answer.result.wanted_replicas(), answer.result.required_replicas()));
           if (!placements.ok()) {
             return placements.status();
           }
           master::AddPlacements(shard, answer.result.allocated(), *std::move(placements),
                                 answer.placed);
           return absl::OkStatus();
         });
}

void SimMaster::Get(const v1::GetObjectRequest& request, MasterReply reply) {
  log_->ReadBarrier([this, request, reply = std::move(reply)](absl::Status status) {
    MasterAnswer answer;
    answer.status = std::move(status);
    if (answer.status.ok()) {
      answer.status = master::ReadObject(machine_, view_, request, answer.object);
    }
    reply(std::move(answer));
  });
}

void SimMaster::HandleNow(const MasterRequest& request, MasterReply reply) {
  if (const auto* open = std::get_if<OpenSession>(&request.body)) {
    Command command;
    command.set_shard(open->shard.value());
    command.mutable_open_session();
    Mutate(std::move(command), std::move(reply));
  } else if (const auto* begin = std::get_if<v1::BeginWriteRequest>(&request.body)) {
    Begin(*begin, std::move(reply));
  } else if (const auto* allocate = std::get_if<v1::AllocateChunksRequest>(&request.body)) {
    Allocate(*allocate, std::move(reply));
  } else if (const auto* seal = std::get_if<v1::SealChunksRequest>(&request.body)) {
    Mutate(master::ToCommand(master::ShardOfId(seal->draft_id()), *seal), std::move(reply));
  } else if (const auto* commit = std::get_if<v1::CommitObjectRequest>(&request.body)) {
    Mutate(master::ToCommand(machine_.ShardOf(commit->key()), *commit, ContextNow()),
           std::move(reply));
  } else if (const auto* abort = std::get_if<v1::AbortWriteRequest>(&request.body)) {
    Mutate(master::ToCommand(master::ShardOfId(abort->draft_id()), *abort), std::move(reply));
  } else if (const auto* remove = std::get_if<v1::DeleteObjectRequest>(&request.body)) {
    Mutate(master::ToCommand(machine_.ShardOf(remove->key()), *remove, ContextNow()),
           std::move(reply));
  } else if (const auto* get = std::get_if<v1::GetObjectRequest>(&request.body)) {
    Get(*get, std::move(reply));
  } else if (const auto* bad = std::get_if<v1::ReportBadReplicaRequest>(&request.body)) {
    view_.ReportBadReplica(ChunkHandle(bad->handle()), bad->server_id(), bad->problem());
    reply(MasterAnswer());
  }
}

}  // namespace ballast::testing
