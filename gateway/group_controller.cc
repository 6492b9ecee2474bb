// SPDX-License-Identifier: Apache-2.0
#include "gateway/group_controller.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/base/check.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::gateway {
namespace {

constexpr uint64_t kRegistryVersion = 1;
constexpr absl::Duration kWaitMax = absl::Seconds(30);
// Configurations of many shards are long: so many fit one message.
constexpr size_t kConfigurationsPerAnswer = 16;

absl::Status Stopping() {
  return NotReadyError("the controller is stopping", absl::Milliseconds(100));
}

// A group without chunk servers: of the settings only those of small values matter.
v1::Registry EmptyRegistry() {
  v1::Registry registry;
  registry.set_version(kRegistryVersion);
  v1::Settings& settings = *registry.mutable_settings();
  settings.set_default_replicas(1);
  settings.set_min_replicas(1);
  settings.set_inline_bytes(kInlineBytesMax);
  settings.set_heartbeat_interval_ms(5000);
  settings.set_draft_expiry_ms(3'600'000);
  settings.set_grace_ms(600'000);
  settings.set_session_idle_ms(3'600'000);
  return registry;
}

}  // namespace

// Deletes itself when gRPC has done with it.
class GroupController::WatchReactor final : public grpc::ServerUnaryReactor {
 public:
  WatchReactor(GroupController& owner, uint64_t id) : owner_(owner), id_(id) {}
  void OnCancel() override {
    owner_.executor_->Post([&owner = owner_, id = id_] {
      owner.Answer(id, absl::CancelledError("the caller has gone"));
    });
  }
  void OnDone() override { delete this; }

 private:
  GroupController& owner_;
  const uint64_t id_;
};

class GroupController::Service final : public v1::ShardControl::CallbackService {
 public:
  explicit Service(GroupController& owner) : owner_(owner) {}

  grpc::ServerUnaryReactor* GetCluster(grpc::CallbackServerContext* context,
                                       const v1::GetClusterRequest*,
                                       v1::GetClusterResponse* response) override {
    response->set_cluster_id(owner_.cluster_id_);
    response->set_shard_count(owner_.shard_count_);
    return FinishNow(context, absl::OkStatus());
  }

  grpc::ServerUnaryReactor* Watch(grpc::CallbackServerContext* context,
                                  const v1::WatchRequest* request,
                                  v1::WatchResponse* response) override {
    const absl::Status allowed = CheckClusterId(*context, owner_.cluster_id_);
    if (!allowed.ok()) {
      return FinishNow(context, allowed);
    }
    const uint64_t id = owner_.next_call_.fetch_add(1);
    auto* const reactor = new WatchReactor(owner_, id);
    owner_.executor_->Post([this, id, request = *request, response, context,
                            answer = UnaryAnswer(reactor, Stopping())]() mutable {
      if (context->IsCancelled()) {  // OnCancel may have come before there was a call to end
        answer.Finish(absl::CancelledError("the caller has gone"));
        return;
      }
      owner_.OnWatch(id, {std::move(request), response, std::move(answer)});
    });
    return reactor;
  }

 private:
  GroupController& owner_;
};

GroupController::GroupController(std::string cluster_id, uint32_t shard_count)
    : cluster_id_(std::move(cluster_id)),
      shard_count_(shard_count),
      service_(std::make_unique<Service>(*this)),
      executor_(MakeThreadExecutor("group-control")) {}

absl::StatusOr<std::unique_ptr<GroupController>> GroupController::Start(
    const std::string& cluster_id, uint32_t shard_count) {
  auto controller = std::unique_ptr<GroupController>(new GroupController(cluster_id, shard_count));
  auto port = GrpcServer::Start("127.0.0.1:0", {controller->service_.get()});
  if (!port.ok()) {
    return port.status();
  }
  controller->port_ = *std::move(port);
  return controller;
}

GroupController::~GroupController() {
  // A call that comes after this finds its answer dropped with the executor.
  absl::Notification ended;
  executor_->Post([&] {
    while (!calls_.empty()) {
      Answer(calls_.begin()->first, Stopping());
    }
    ended.Notify();
  });
  ended.WaitForNotification();
  if (port_ != nullptr) {
    port_->Shutdown(absl::ZeroDuration());
  }
  executor_.reset();
}

void GroupController::Publish(v1::Configuration configuration) {
  executor_->Post([this, configuration = std::move(configuration)]() mutable {
    CHECK_EQ(configuration.version(), version_ + 1);
    version_ = configuration.version();
    kept_[version_] = std::move(configuration);
    std::vector<uint64_t> ids;
    for (const auto& [id, call] : calls_) {
      ids.push_back(id);
    }
    for (const uint64_t id : ids) {
      Answer(id, absl::OkStatus());
    }
  });
}

bool GroupController::HasNews(const v1::WatchRequest& request) const {
  return version_ > request.after_config_version() ||
         request.registry_version() != kRegistryVersion;
}

void GroupController::OnWatch(uint64_t id, WaitingCall call) {
  // The group has these; nobody asks for them again.
  kept_.erase(kept_.begin(), kept_.upper_bound(call.request.after_config_version()));
  const bool news = HasNews(call.request);
  const absl::Duration wait = absl::Milliseconds(call.request.wait_ms());
  WaitingCall& waiting = calls_.emplace(id, std::move(call)).first->second;
  if (news) {
    Answer(id, absl::OkStatus());
    return;
  }
  waiting.timer =
      executor_->RunAfter(std::min(wait, kWaitMax), [this, id] { Answer(id, absl::OkStatus()); });
}

void GroupController::Answer(uint64_t id, const absl::Status& status) {
  const auto it = calls_.find(id);
  if (it == calls_.end()) {
    return;
  }
  WaitingCall& call = it->second;
  executor_->Cancel(call.timer);
  if (status.ok()) {
    v1::WatchResponse& response = *call.response;
    response.set_config_version(version_);
    auto next = kept_.upper_bound(call.request.after_config_version());
    for (size_t i = 0; i < kConfigurationsPerAnswer && next != kept_.end(); ++i, ++next) {
      *response.add_configurations() = next->second;
    }
    if (call.request.registry_version() != kRegistryVersion) {
      *response.mutable_registry() = EmptyRegistry();
    }
  }
  call.answer.Finish(status);
  calls_.erase(it);
}

}  // namespace ballast::gateway
