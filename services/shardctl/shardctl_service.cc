// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/shardctl_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/unary_answer.h"
#include "common/types/error.h"
#include "services/shardctl/core/command.h"

namespace ballast::shardctl {
namespace {

absl::Status NotServing() {
  return NotReadyError("shardctl is starting or stopping", absl::Milliseconds(20));
}

}  // namespace

ShardctlService::ShardctlService(Executor& executor, const ConfigMachine& machine,
                                 WatchCalls& watches, ServiceFacts facts)
    : executor_(executor), machine_(machine), watches_(watches), facts_(std::move(facts)) {}

void ShardctlService::Attach(ReplicatedLog& log) {
  CHECK(log_ == nullptr);
  log_ = &log;
  log.SetRoleObserver([this](const ReplicatedLog::State& state) {
    if (log_ != nullptr && state.role != ReplicatedLog::Role::kLeader) {
      watches_.FailAll(WithHint(NotLeaderError("")));
    }
  });
}

void ShardctlService::Detach() {
  log_ = nullptr;
  watches_.FailAll(NotServing());
}

absl::Status ShardctlService::WithHint(const absl::Status& status) const {
  if (ReasonOf(status) != v1::REASON_NOT_LEADER || log_ == nullptr) {
    return status;
  }
  const auto leader = log_->state().leader;
  const auto known = leader.has_value() ? facts_.addresses.find(*leader) : facts_.addresses.end();
  return NotLeaderError(known == facts_.addresses.end() ? "" : known->second);
}

v1::Configuration ShardctlService::ConfigurationOf(uint64_t version) const {
  const ShardConfig* config = machine_.FindConfig(ConfigVersion(version));
  CHECK(config != nullptr) << "configuration " << version;
  return config->ToProto();
}

// --- mutations -----------------------------------------------------------------------------------

template <typename Request, typename Fill>
grpc::ServerUnaryReactor* ShardctlService::Mutate(grpc::CallbackServerContext* context,
                                                  const Request& request, Fill fill) {
  const absl::Status allowed = CheckClusterId(*context, facts_.cluster_id);
  if (!allowed.ok()) {
    return FinishNow(context, allowed);
  }
  const auto command = CommandOf(request);
  if (!command.ok()) {
    return FinishNow(context, command.status());
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  UnaryAnswer answer(reactor, MakeError(v1::REASON_OUTCOME_UNKNOWN, "shardctl is stopping"));
  executor_.Post([this, bytes = command->SerializeAsString(), answer = std::move(answer),
                  fill = std::move(fill)]() mutable {
    if (log_ == nullptr) {
      answer.Finish(NotServing());
      return;
    }
    log_->Propose(std::move(bytes), [this, answer = std::move(answer), fill = std::move(fill)](
                                        absl::StatusOr<ReplicatedLog::Applied> applied) mutable {
      if (!applied.ok()) {
        answer.Finish(WithHint(applied.status()));
        return;
      }
      log::Result result;
      CHECK(result.ParseFromString(applied->result));
      const absl::Status status = StatusOf(result);
      if (status.ok()) {
        fill(result);
      }
      answer.Finish(status);
    });
  });
  return reactor;
}

grpc::ServerUnaryReactor* ShardctlService::Join(grpc::CallbackServerContext* context,
                                                const v1::JoinRequest* request,
                                                v1::JoinResponse* response) {
  return Mutate(context, *request, [this, response](const log::Result& result) {
    *response->mutable_configuration() = ConfigurationOf(result.config_version());
  });
}

grpc::ServerUnaryReactor* ShardctlService::Leave(grpc::CallbackServerContext* context,
                                                 const v1::LeaveRequest* request,
                                                 v1::LeaveResponse* response) {
  return Mutate(context, *request, [this, response](const log::Result& result) {
    *response->mutable_configuration() = ConfigurationOf(result.config_version());
  });
}

grpc::ServerUnaryReactor* ShardctlService::Move(grpc::CallbackServerContext* context,
                                                const v1::MoveRequest* request,
                                                v1::MoveResponse* response) {
  return Mutate(context, *request, [this, response](const log::Result& result) {
    *response->mutable_configuration() = ConfigurationOf(result.config_version());
  });
}

grpc::ServerUnaryReactor* ShardctlService::RegisterChunkServer(
    grpc::CallbackServerContext* context, const v1::RegisterChunkServerRequest* request,
    v1::RegisterChunkServerResponse* response) {
  return Mutate(context, *request, [response](const log::Result& result) {
    response->set_server_index(result.server_index());
  });
}

grpc::ServerUnaryReactor* ShardctlService::SetServerState(grpc::CallbackServerContext* context,
                                                          const v1::SetServerStateRequest* request,
                                                          v1::SetServerStateResponse* response) {
  return Mutate(context, *request,
                [this, response, server_id = request->server_id()](const log::Result&) {
                  *response->mutable_server() = ToWire(*machine_.FindServer(server_id));
                });
}

grpc::ServerUnaryReactor* ShardctlService::UpdateSettings(grpc::CallbackServerContext* context,
                                                          const v1::UpdateSettingsRequest* request,
                                                          v1::UpdateSettingsResponse* response) {
  return Mutate(context, *request, [this, response](const log::Result&) {
    *response->mutable_settings() = ToWire(machine_.settings());
  });
}

// --- reads ---------------------------------------------------------------------------------------

grpc::ServerUnaryReactor* ShardctlService::GetCluster(grpc::CallbackServerContext* context,
                                                      const v1::GetClusterRequest*,
                                                      v1::GetClusterResponse* response) {
  response->set_cluster_id(facts_.cluster_id);
  response->set_shard_count(facts_.shard_count);
  return FinishNow(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ShardctlService::Query(grpc::CallbackServerContext* context,
                                                 const v1::QueryRequest* request,
                                                 v1::QueryResponse* response) {
  const absl::Status allowed = CheckClusterId(*context, facts_.cluster_id);
  if (!allowed.ok()) {
    return FinishNow(context, allowed);
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  executor_.Post([this, answer = UnaryAnswer(reactor, NotServing()), version = request->version(),
                  response]() mutable {
    if (log_ == nullptr) {
      answer.Finish(NotServing());
      return;
    }
    log_->ReadBarrier(
        [this, answer = std::move(answer), version, response](absl::Status barrier) mutable {
          if (!barrier.ok()) {
            answer.Finish(WithHint(barrier));
            return;
          }
          const uint64_t current = machine_.current_version().value();
          if (version > current) {
            answer.Finish(MakeError(
                v1::REASON_UNKNOWN_VERSION,
                absl::StrCat("the current configuration is number ", current, ", not ", version)));
            return;
          }
          if (current > 0) {
            *response->mutable_configuration() = ConfigurationOf(version == 0 ? current : version);
          }
          answer.Finish(absl::OkStatus());
        });
  });
  return reactor;
}

// Tells the watch calls when its caller goes. Deletes itself when gRPC has done with it.
class ShardctlService::WatchReactor final : public grpc::ServerUnaryReactor {
 public:
  WatchReactor(ShardctlService& service, uint64_t id) : service_(service), id_(id) {}
  void OnCancel() override {
    service_.executor_.Post([&watches = service_.watches_, id = id_] { watches.Remove(id); });
  }
  void OnDone() override { delete this; }

 private:
  ShardctlService& service_;
  const uint64_t id_;
};

grpc::ServerUnaryReactor* ShardctlService::Watch(grpc::CallbackServerContext* context,
                                                 const v1::WatchRequest* request,
                                                 v1::WatchResponse* response) {
  const absl::Status allowed = CheckClusterId(*context, facts_.cluster_id);
  if (!allowed.ok()) {
    return FinishNow(context, allowed);
  }
  const uint64_t id = next_watch_.fetch_add(1);
  auto* reactor = new WatchReactor(*this, id);
  executor_.Post([this, id, context, answer = UnaryAnswer(reactor, NotServing()),
                  request = *request, response]() mutable {
    if (log_ == nullptr) {
      answer.Finish(NotServing());
      return;
    }
    log_->ReadBarrier([this, id, context, answer = std::move(answer), request = std::move(request),
                       response](absl::Status barrier) mutable {
      if (!barrier.ok() || log_ == nullptr) {
        answer.Finish(barrier.ok() ? NotServing() : WithHint(barrier));
        return;
      }
      if (context->IsCancelled()) {  // its OnCancel may have come before there was a call to remove
        answer.Finish(absl::CancelledError("the caller has gone"));
        return;
      }
      watches_.Add(id, request, [answer = std::move(answer), response](auto news) mutable {
        const absl::Status status = news.status();
        if (status.ok()) {
          *response = *std::move(news);
        }
        answer.Finish(status);
      });
    });
  });
  return reactor;
}

}  // namespace ballast::shardctl
