// SPDX-License-Identifier: Apache-2.0
#include "services/master/master_service.h"

#include <unistd.h>

#include <fstream>
#include <vector>

#include "services/master/control/batch_call.h"
#include "services/master/control/object_reads.h"
#include "services/master/control/propose_all.h"
#include "services/master/core/requests.h"
#include "services/master/master_service_calls.h"

// What all calls share, sessions, batches, reads and status. Writes: master_service_writes.cc;
// moves: master_service_moves.cc.

namespace ballast::master {
namespace {

// Resident memory of this process; 0 where it cannot be told.
uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total_pages = 0;
  uint64_t resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

MasterService::MasterService(Executor& executor, Clock& clock, const MasterMachine& machine,
                             Proposer& proposer, PlacementView& view, ReplicaMover& mover,
                             Maintainer& maintainer, MasterServiceFacts facts)
    : executor_(executor),
      clock_(clock),
      machine_(machine),
      proposer_(proposer),
      view_(view),
      mover_(mover),
      maintainer_(maintainer),
      facts_(std::move(facts)),
      settings_(DefaultSettings()) {}

void MasterService::SetSettings(const v1::Settings& settings) {
  absl::MutexLock lock(&mu_);
  settings_ = settings;
}

v1::Settings MasterService::settings() const {
  absl::MutexLock lock(&mu_);
  return settings_;
}

CommandContext MasterService::ContextNow() const {
  const v1::Settings settings = this->settings();
  CommandContext context;
  context.wall_unix_ms = static_cast<uint64_t>(absl::ToUnixMillis(clock_.WallNow()));
  context.grace_ms = settings.grace_ms();
  context.draft_expiry_ms = settings.draft_expiry_ms();
  return context;
}

std::string MasterService::LeaderAddress() const {
  if (proposer_.log() == nullptr) return "";
  const auto leader = proposer_.log()->state().leader;
  const auto known = leader.has_value() ? facts_.addresses.find(*leader) : facts_.addresses.end();
  return known == facts_.addresses.end() ? "" : known->second;
}

absl::Status MasterService::CheckLeading() const {
  if (proposer_.leading()) return absl::OkStatus();
  if (proposer_.log() == nullptr || proposer_.log()->state().role == ReplicatedLog::Role::kLeader) {
    return NotReadyError("the master is starting or stopping", absl::Milliseconds(100));
  }
  return NotLeaderError(LeaderAddress());
}

absl::Status MasterService::WithHint(const absl::Status& status) const {
  return ReasonOf(status) == v1::REASON_NOT_LEADER ? NotLeaderError(LeaderAddress()) : status;
}

// --- sessions ------------------------------------------------------------------------------------

grpc::ServerUnaryReactor* MasterService::OpenSessions(Context* context,
                                                      const v1::OpenSessionsRequest* request,
                                                      v1::OpenSessionsResponse* response) {
  const auto work = [this, request, response](UnaryAnswer answer) {
    std::vector<mlog::Command> commands;
    for (uint32_t shard : request->shards()) {
      if (const auto serving = machine_.Serving(ShardId(shard)); !serving.ok()) {
        answer.Finish(serving.status());
        return;
      }
      commands.emplace_back().set_shard(shard);
      commands.back().mutable_open_session();
    }
    ProposeAll(proposer_, std::move(commands),
               [this, response, answer = std::move(answer)](
                   absl::StatusOr<std::vector<mlog::Result>> results) mutable {
                 if (!results.ok()) {
                   answer.Finish(WithHint(results.status()));
                   return;
                 }
                 absl::Status status;
                 for (const mlog::Result& result : *results) {
                   status.Update(ToStatus(result));
                   response->add_session_ids(result.session_id());
                 }
                 answer.Finish(status);
               });
  };
  return AsLeader(context, Check(*request, machine_.shard_count()), work);
}

grpc::ServerUnaryReactor* MasterService::CloseSessions(Context* context,
                                                       const v1::CloseSessionsRequest* request,
                                                       v1::CloseSessionsResponse*) {
  const auto work = [this, request](UnaryAnswer answer) {
    std::vector<mlog::Command> commands;
    for (uint64_t id : request->session_ids()) {
      if (!machine_.Serving(ShardOfId(id)).ok()) continue;
      commands.emplace_back().set_shard(ShardOfId(id).value());
      commands.back().mutable_close_session()->set_session_id(id);
    }
    ProposeAll(proposer_, std::move(commands),
               [this, answer = std::move(answer)](
                   const absl::StatusOr<std::vector<mlog::Result>>& results) mutable {
                 answer.Finish(results.ok() ? absl::OkStatus() : WithHint(results.status()));
               });
  };
  return AsLeader(context, Check(*request), work);
}

// --- batches -------------------------------------------------------------------------------------

grpc::ServerUnaryReactor* MasterService::Batch(Context* context, const v1::BatchRequest* request,
                                               v1::BatchResponse* response) {
  const absl::Status checked = Check(*request, machine_.shard_count(), settings());
  std::vector<mlog::Command> commands;
  if (checked.ok()) {
    const CommandContext now = ContextNow();
    const v1::Settings settings = this->settings();
    for (const v1::BatchRequest::Operation& one : request->operations()) {
      commands.push_back(ToCommand(one, machine_.shard_count(), settings, now));
    }
  }
  return AsLeader(
      context, checked,
      [this, request, response, commands = std::move(commands)](UnaryAnswer answer) mutable {
        for (const mlog::Command& command : commands) {
          const auto serving = machine_.Serving(ShardId(command.shard()));
          if (!serving.ok()) {
            answer.Finish(serving.status());
            return;
          }
        }
        RunBatch({&machine_, &view_, &proposer_}, *request, std::move(commands), *response,
                 [this, answer = std::move(answer)](const absl::Status& status) mutable {
                   answer.Finish(WithHint(status));
                 });
      });
}

// --- reads ---------------------------------------------------------------------------------------

grpc::ServerUnaryReactor* MasterService::StatObject(Context* context,
                                                    const v1::StatObjectRequest* request,
                                                    v1::StatObjectResponse* response) {
  return ReadAsLeader(context, Check(*request), [this, request, response] {
    const auto object = machine_.FindObject(request->key());
    if (object.ok()) FillInfo(**object, *response->mutable_object());
    return object.status();
  });
}

grpc::ServerUnaryReactor* MasterService::GetObject(Context* context,
                                                   const v1::GetObjectRequest* request,
                                                   v1::GetObjectResponse* response) {
  return ReadAsLeader(context, Check(*request), [this, request, response] {
    return ReadObject(machine_, view_, *request, *response);
  });
}

grpc::ServerUnaryReactor* MasterService::GetChunks(Context* context,
                                                   const v1::GetChunksRequest* request,
                                                   v1::GetChunksResponse* response) {
  return ReadAsLeader(context, Check(*request), [this, request, response] {
    return ReadChunks(machine_, view_, *request, *response);
  });
}

grpc::ServerUnaryReactor* MasterService::ListObjects(Context* context,
                                                     const v1::ListObjectsRequest* request,
                                                     v1::ListObjectsResponse* response) {
  return ReadAsLeader(context, Check(*request), [this, request, response] {
    ReadList(machine_, *request, *response);
    return absl::OkStatus();
  });
}

// --- chunk servers and status --------------------------------------------------------------------

grpc::ServerUnaryReactor* MasterService::ReportBadReplica(
    Context* context, const v1::ReportBadReplicaRequest* request, v1::ReportBadReplicaResponse*) {
  return AsLeader(context, absl::OkStatus(), [this, request](UnaryAnswer answer) {
    view_.ReportBadReplica(ChunkHandle(request->handle()), request->server_id(),
                           request->problem());
    answer.Finish(absl::OkStatus());
  });
}

grpc::ServerUnaryReactor* MasterService::ListServers(Context* context,
                                                     const v1::ListServersRequest*,
                                                     v1::ListServersResponse* response) {
  return AsLeader(context, absl::OkStatus(), [this, response](UnaryAnswer answer) {
    for (v1::ServerStatus& server : view_.ServerStatuses()) {
      *response->add_servers() = std::move(server);
    }
    answer.Finish(absl::OkStatus());
  });
}

grpc::ServerUnaryReactor* MasterService::GetGroupStatus(Context* context,
                                                        const v1::GetGroupStatusRequest*,
                                                        v1::GetGroupStatusResponse* response) {
  if (absl::Status allowed = CheckClusterId(*context, facts_.cluster_id); !allowed.ok()) {
    return FinishNow(context, allowed);
  }
  Reactor* reactor = context->DefaultReactor();
  executor_.Post([this, response,
                  answer = UnaryAnswer(reactor, NotReadyError("the master is stopping",
                                                              absl::Milliseconds(100)))]() mutable {
    // Until there is a log, the machine may be in the hands of its recovery.
    if (proposer_.log() == nullptr) {
      answer.Finish(CheckLeading());
      return;
    }
    response->set_group_id(machine_.group().value());
    response->set_node_id(facts_.node.value());
    response->set_is_leader(proposer_.leading());
    response->set_leader_address(LeaderAddress());
    const ReplicatedLog::State state = proposer_.log()->state();
    response->set_term(state.term.value());
    response->set_committed_index(state.committed.value());
    response->set_applied_index(state.applied.value());
    response->set_wal_syncs(state.wal_syncs);
    response->set_config_version(machine_.config_version().value());
    const MasterMachine::Counts counts = machine_.Count();
    response->set_shard_count(static_cast<uint32_t>(counts.shards));
    response->set_object_count(counts.objects);
    response->set_chunk_count(counts.chunks);
    response->set_draft_count(counts.drafts);
    response->set_doomed_count(counts.doomed);
    response->set_session_count(counts.sessions);
    response->set_resident_bytes(ResidentBytes());
    const PlacementView::Health health = view_.ChunkHealth();
    response->set_chunks_without_live_replica(health.chunks_without_live_replica);
    response->set_chunks_below_wanted(health.chunks_below_wanted);
    answer.Finish(absl::OkStatus());
  });
  return reactor;
}

}  // namespace ballast::master
