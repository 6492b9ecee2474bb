// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/copy_engine.h"

#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/types/error.h"
#include "services/master/control/propose_all.h"
#include "services/master/core/leader_copy_view.h"
#include "services/master/core/results.h"

namespace ballast::master {
namespace {

constexpr size_t kTextMax = 256;

// A server's word for what became of its command.
absl::Status StatusOf(const v1::CommandResult& result) {
  if (result.code() == 0) {
    return absl::OkStatus();
  }
  const auto reason = static_cast<v1::Reason>(result.reason());
  const std::string text = result.text().substr(0, kTextMax);
  return v1::Reason_IsValid(reason) && reason != v1::REASON_UNSPECIFIED
             ? MakeError(reason, text)
             : MakeError(v1::REASON_COPY_FAILED, text);
}

}  // namespace

CopyEngine::CopyEngine(Executor& executor, LiveView& view, HeartbeatIntake& intake,
                       Proposer& proposer, CopyEngineLimits limits)
    : executor_(executor),
      view_(view),
      intake_(intake),
      proposer_(proposer),
      desk_(view, intake),
      limits_(limits) {
  intake_.SetObserver(this);
}

CopyEngine::~CopyEngine() { intake_.SetObserver(nullptr); }

void CopyEngine::Poke() {
  if (std::exchange(poked_, true)) {
    return;
  }
  executor_.Post([this] {
    poked_ = false;
    Step();
  });
}

void CopyEngine::Answer(Done done, absl::StatusOr<CopyOutcome> outcome) {
  executor_.Post([done = std::move(done), outcome = std::move(outcome)]() mutable {
    done(std::move(outcome));
  });
}

// --- tasks ---------------------------------------------------------------------------------------

void CopyEngine::Offer(const CopyTask& task, Done done) {
  LeaderState* const leader = view_.leader();
  if (leader == nullptr) {
    Answer(std::move(done), NotLeaderError(""));
    return;
  }
  const absl::StatusOr<CopyId> id = leader->copies.Offer(task, view_.Now());
  if (!id.ok()) {
    Answer(std::move(done), CopyOutcome{id.status(), 0});
    return;
  }
  waiting_.emplace(*id, std::move(done));
  Poke();
}

void CopyEngine::Move(ChunkHandle handle, absl::string_view from_server_id,
                      absl::string_view to_server_id, Done done) {
  if (!view_.directory().known()) {
    Answer(std::move(done),
           NotReadyError("the registry of chunk servers has not come from shardctl yet",
                         absl::Milliseconds(500)));
    return;
  }
  const v1::RegisteredServer* const from = view_.directory().FindById(from_server_id);
  const v1::RegisteredServer* const to = view_.directory().FindById(to_server_id);
  if (from == nullptr || to == nullptr) {
    Answer(std::move(done),
           CopyOutcome{MakeError(v1::REASON_UNKNOWN_SERVER, from == nullptr
                                                                ? "from_server_id is not registered"
                                                                : "to_server_id is not registered"),
                       0});
    return;
  }
  Offer({handle, ServerIndex(to->server_index()), ServerIndex(from->server_index()),
         CopyPurpose::kRequested},
        std::move(done));
}

void CopyEngine::EndTerm(const absl::Status& status) {
  const LeaderState* const leader = view_.leader();
  for (auto& [id, done] : std::exchange(waiting_, {})) {
    const bool begun = leader == nullptr || leader->copies.HasBegun(id);
    Answer(std::move(done), begun ? MakeError(v1::REASON_OUTCOME_UNKNOWN,
                                              "the leader changed while the replica was copied")
                                  : status);
  }
  ending_.clear();
}

void CopyEngine::Tell(CopyEffects::Finished& finished) {
  const CopyTask& task = finished.task;
  const absl::Status& status = finished.outcome.status;
  const LogLevel level = status.ok() ? LogLevel::kInfo : LogLevel::kWarning;
  Log(level, status.ok() ? "master.replica_copied" : "master.copy_failed",
      {{"chunk", task.handle.ToString()},
       {"target", task.target.value()},
       {"source_trimmed", task.source.value()},
       {"purpose", CopyPurposeName(task.purpose)},
       {"bytes", finished.outcome.bytes_copied},
       {"error", status.message()}});
  const auto waiting = waiting_.find(finished.copy);
  if (waiting != waiting_.end()) {
    Done done = std::move(waiting->second);
    waiting_.erase(waiting);
    done(std::move(finished.outcome));
  }
}

// --- what heartbeats bring -----------------------------------------------------------------------

void CopyEngine::OnCommandResult(ServerIndex server, const v1::CommandResult& result,
                                 const std::optional<CommandLedger::Order>& order) {
  LeaderState& leader = *view_.leader();
  leader.copies.OnResult(server, result.command_id(), StatusOf(result), result.bytes());
  if (order.has_value() && result.code() == 0) {
    if (order->kind == OrderKind::kVerify) {
      leader.replicas.OnVerified(server, order->handle);
    } else if (order->kind == OrderKind::kKeep) {
      leader.trims.OnKept(server, order->handle);
      leader.ledger.Cancel(server, OrderKind::kDelete, order->handle);
    }
  }
  Poke();
}

void CopyEngine::OnReport(ServerIndex) { Poke(); }

// --- a step --------------------------------------------------------------------------------------

void CopyEngine::Step() {
  LeaderState* const leader = view_.leader();
  if (leader == nullptr || (leader->copies.empty() && !leader->trims.active())) {
    return;
  }
  CopyEffects effects;
  leader->copies.Step(LeaderCopyView(*leader, view_.catalog()), view_.Now(), effects);
  for (const CopyEffects::Replicate& order : effects.replicates) {
    OrderReplicate(*leader, order);
  }
  for (const CopyEffects::Verify& order : effects.verifies) {
    OrderVerify(order.server, order.handle);
  }
  for (const CopyEffects::Log& log : effects.logs) {
    ProposeLocation(log);
  }
  StepTrims(*leader);
  intake_.Flush();
  // Last, so that whoever is told finds the orders that follow from it on their way.
  for (CopyEffects::Finished& finished : effects.finished) {
    Tell(finished);
  }
  if (!effects.finished.empty()) {
    Poke();  // others may begin
  }
}

void CopyEngine::OrderReplicate(LeaderState& leader, const CopyEffects::Replicate& order) {
  v1::Command command;
  command.set_handle(order.task.handle.value());
  v1::Command::Replicate& replicate = *command.mutable_replicate();
  replicate.set_length_bytes(order.facts.length_bytes);
  replicate.set_crc32c(order.facts.crc32c.value);
  replicate.set_traffic(order.task.purpose == CopyPurpose::kRepair ? v1::TRAFFIC_CLASS_REPAIR
                                                                   : v1::TRAFFIC_CLASS_REBALANCE);
  replicate.set_total_share_ppm(order.task.total_share_ppm);
  for (ServerIndex source : order.sources) {
    *replicate.add_sources() = view_.LocationOf(*view_.directory().Find(source));
  }
  if (order.is_first) {
    leader.Promise(order.task.target, order.facts.length_bytes, view_.Now());
  }
  const uint64_t id =
      desk_.Order(order.task.target, std::move(command), limits_.replicates_under_way_max);
  if (id != 0) {
    leader.copies.OnOrdered(order.copy, id);
  }
}

void CopyEngine::OrderVerify(ServerIndex server, ChunkHandle handle) {
  v1::Command command;
  command.set_handle(handle.value());
  command.mutable_verify();
  desk_.Order(server, std::move(command), limits_.verifies_under_way_max);
}

void CopyEngine::ProposeLocation(const CopyEffects::Log& log) {
  std::vector<mlog::Command> commands(1);
  commands[0].set_shard(log.handle.shard().value());
  auto* const change = commands[0].mutable_update_locations()->add_changes();
  change->set_handle(log.handle.value());
  change->add_add_servers(log.add.value());
  if (log.drop != ServerIndex(0)) {
    change->add_drop_servers(log.drop.value());
  }
  if (log.trim != ServerIndex(0)) {
    mlog::Command& command = commands.emplace_back();
    command.set_shard(log.handle.shard().value());
    command.mutable_trim()->set_handle(log.handle.value());
    command.mutable_trim()->set_server_index(log.trim.value());
    command.mutable_trim()->set_keep_replicas(log.keep);
  }
  ProposeAll(proposer_, std::move(commands),
             [this, term = view_.leader()->term(),
              copy = log.copy](const absl::StatusOr<std::vector<mlog::Result>>& results) {
               LeaderState* const leader = view_.leader();
               if (leader == nullptr || leader->term() != term) {
                 return;  // its callers were told when the term ended
               }
               absl::Status status = results.status();
               if (results.ok()) {
                 status = ToStatus(results->back());
                 if (ReasonOf(status) == v1::REASON_INVALID_ARGUMENT) {
                   status = MakeError(v1::REASON_CHUNK_NOT_FOUND, "the chunk is gone");
                 }
               }
               leader->copies.OnLogged(copy, status);
               Poke();
             });
}

// --- trims ---------------------------------------------------------------------------------------

void CopyEngine::StepTrims(LeaderState& leader) {
  if (leader.trims.active()) {
    leader.trims.Step(LeaderCopyView(leader, view_.catalog()), view_.catalog(),
                      limits_.trims_examined_max, [this](const TrimStep& step) { CarryOut(step); });
  }
}

void CopyEngine::CarryOut(const TrimStep& step) {
  v1::Command command;
  command.set_handle(step.handle.value());
  switch (step.kind) {
    case TrimStep::Kind::kDelete:
      command.mutable_delete_replica()->set_length_bytes(step.length_bytes);
      command.mutable_delete_replica()->set_cause(v1::Command::Delete::CAUSE_TRIM);
      desk_.Order(step.server, std::move(command), limits_.deletes_under_way_max);
      return;
    case TrimStep::Kind::kVerify:
      OrderVerify(step.server, step.handle);
      return;
    case TrimStep::Kind::kKeep:
      intake_.WithdrawDeletes(step.server, step.handle);
      command.mutable_keep();
      desk_.Order(step.server, std::move(command), limits_.keeps_under_way_max);
      return;
    case TrimStep::Kind::kRevoke:
    case TrimStep::Kind::kFinish:
      ProposeTrimEnd(step);
      return;
  }
}

void CopyEngine::ProposeTrimEnd(const TrimStep& step) {
  const TrimKey key(step.handle, step.server);
  if (ending_.size() >= limits_.trims_proposed_max || !ending_.insert(key).second) {
    return;
  }
  mlog::Command command;
  command.set_shard(step.handle.shard().value());
  if (step.kind == TrimStep::Kind::kFinish) {
    command.mutable_finish_trim()->set_handle(step.handle.value());
    command.mutable_finish_trim()->set_server_index(step.server.value());
  } else {
    command.mutable_revoke_trim()->set_handle(step.handle.value());
    command.mutable_revoke_trim()->set_server_index(step.server.value());
  }
  const char* const event =
      step.kind == TrimStep::Kind::kFinish ? "master.trim_finished" : "master.trim_revoked";
  proposer_.Propose(std::move(command), [this, key, event, term = view_.leader()->term()](
                                            const absl::StatusOr<mlog::Result>& result) {
    const LeaderState* const leader = view_.leader();
    if (leader == nullptr || leader->term() != term) {
      return;
    }
    ending_.erase(key);
    if (result.ok()) {
      LogInfo(event, {{"chunk", key.first.ToString()}, {"server", key.second.value()}});
    }
    Poke();
  });
}

}  // namespace ballast::master
