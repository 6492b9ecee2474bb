// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/shardctl_watcher.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/env/clock.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/retry_policy.h"
#include "common/rpc/status_bridge.h"
#include "common/types/error.h"
#include "common/types/limits.h"
#include "protos/shardctl_service.grpc.pb.h"

namespace ballast {
namespace {

absl::Status Refuse(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("shardctl's answer is wrong: ", what));
}

absl::Status ValidateRegistry(const v1::Registry& registry) {
  uint32_t previous = 0;
  for (const v1::RegisteredServer& server : registry.servers()) {
    if (server.server_index() <= previous || server.server_index() > kServerIndexMax ||
        !IsUuid(server.server_id()) || !ValidateAddress(server.address()).ok() ||
        server.boot_epoch() == 0 || server.state() < v1::SERVER_STATE_ACTIVE ||
        server.state() > v1::SERVER_STATE_REMOVED) {
      return Refuse(absl::StrCat("server ", server.server_index()));
    }
    previous = server.server_index();
  }
  const v1::Settings& settings = registry.settings();
  if (settings.heartbeat_interval_ms() == 0 || settings.min_replicas() == 0 ||
      settings.min_replicas() > settings.default_replicas() ||
      settings.default_replicas() > kReplicasMax || settings.inline_bytes() > kInlineBytesMax) {
    return Refuse("settings");
  }
  return absl::OkStatus();
}

}  // namespace

// Runs on the executor: Step starts a call, its completion posts Finished, which delivers and steps
// again. At most one call is under way. `mu_` is held while events run, so that Stop waits for
// them, and never while gRPC is called, which may complete a call inside the call that starts or
// cancels it.
class ShardctlWatcher::Loop : public std::enable_shared_from_this<ShardctlWatcher::Loop> {
 public:
  Loop(Executor& executor, ShardctlWatcherOptions options, Events events)
      : executor_(executor),
        options_(std::move(options)),
        events_(std::move(events)),
        cluster_id_(options_.cluster_id),
        identified_(!cluster_id_.empty() && events_.on_cluster == nullptr),
        config_version_(options_.after),
        route_(options_.addresses),
        backoff_(
            options_.backoff_min, options_.backoff_max,
            static_cast<uint64_t>(absl::ToInt64Nanoseconds(RealClock().SteadyNow().SinceOrigin())) ^
                reinterpret_cast<uintptr_t>(this)) {}

  void Start() {
    executor_.Post([self = shared_from_this()] { self->Step(); });
  }

  // Afterwards nothing is posted and no event runs.
  void Stop() {
    std::shared_ptr<Call> call;
    {
      absl::MutexLock lock(&mu_);
      stopped_ = true;
      call = call_;
    }
    if (call != nullptr) {
      call->context.TryCancel();
    }
    Events dropped;
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(
        +[](std::shared_ptr<Call>* running) { return *running == nullptr; }, &call_));
    dropped = std::move(events_);
  }

 private:
  struct Call {
    std::unique_ptr<v1::ShardControl::Stub> stub;
    grpc::ClientContext context;
    SteadyTime begun;
    v1::GetClusterRequest cluster_request;
    v1::GetClusterResponse cluster_response;
    v1::WatchRequest watch_request;
    v1::WatchResponse watch_response;
  };

  void Step() {
    auto call = std::make_shared<Call>();
    bool identify = false;
    {
      absl::MutexLock lock(&mu_);
      if (stopped_) {
        return;
      }
      call->stub = v1::ShardControl::NewStub(channels_.Get(route_.current()));
      call->begun = RealClock().SteadyNow();
      call->watch_request.set_after_config_version(config_version_.value());
      call->watch_request.set_registry_version(registry_version_);
      call->watch_request.set_wait_ms(
          static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.wait)));
      identify = !identified_;
      PrepareContext(call->context, identify ? "" : cluster_id_,
                     options_.answer_timeout + (identify ? absl::ZeroDuration() : options_.wait));
      call_ = call;
    }
    auto done = [self = shared_from_this(), call, identify](grpc::Status status) {
      self->Completed(call, identify, FromGrpc(status));
    };
    if (identify) {
      call->stub->async()->GetCluster(&call->context, &call->cluster_request,
                                      &call->cluster_response, std::move(done));
    } else {
      call->stub->async()->Watch(&call->context, &call->watch_request, &call->watch_response,
                                 std::move(done));
    }
  }

  // On a thread of gRPC.
  void Completed(std::shared_ptr<Call> call, bool identify, absl::Status status) {
    absl::MutexLock lock(&mu_);
    call_ = nullptr;
    if (!stopped_) {
      executor_.Post([self = shared_from_this(), call = std::move(call), identify,
                      status = std::move(status)] { self->Finished(*call, identify, status); });
    }
  }

  void Finished(const Call& call, bool identify, absl::Status status) {
    absl::MutexLock lock(&mu_);
    if (stopped_) {
      return;
    }
    bool news = true;
    if (status.ok()) {
      status =
          identify ? TakeCluster(call.cluster_response) : TakeWatch(call.watch_response, &news);
    }
    absl::Duration pause = absl::ZeroDuration();
    if (!status.ok()) {
      pause = AfterFailure(status);
    } else {
      route_.OnSuccess();
      if (!identify) {
        AfterSuccess();
      }
      // A server that has no news is to hold the call; one that does not is not asked in a loop.
      if (!news && RealClock().SteadyNow() - call.begun < options_.wait / 2) {
        pause = backoff_.Next(status);
      } else {
        backoff_.Reset();
      }
    }
    if (pause > absl::ZeroDuration()) {
      executor_.RunAfter(pause, [self = shared_from_this()] { self->Step(); });
    } else {
      executor_.Post([self = shared_from_this()] { self->Step(); });
    }
  }

  absl::Status TakeCluster(const v1::GetClusterResponse& facts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!IsUuid(facts.cluster_id()) || facts.shard_count() < 1 ||
        facts.shard_count() > kShardsMax) {
      return Refuse("the cluster's facts");
    }
    if (!cluster_id_.empty() && cluster_id_ != facts.cluster_id()) {
      return MakeError(v1::REASON_WRONG_CLUSTER,
                       absl::StrCat(route_.current(), " belongs to cluster ", facts.cluster_id(),
                                    ", not ", cluster_id_));
    }
    cluster_id_ = facts.cluster_id();
    identified_ = true;
    if (events_.on_cluster != nullptr) {
      events_.on_cluster(facts);
    }
    return absl::OkStatus();
  }

  // Checks all before it delivers anything.
  absl::Status TakeWatch(const v1::WatchResponse& answer, bool* news)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::vector<ShardConfig> configs;
    ConfigVersion expected = config_version_;
    for (const v1::Configuration& configuration : answer.configurations()) {
      ASSIGN_OR_RETURN(ShardConfig config, ShardConfig::FromProto(configuration));
      expected = expected.Next();
      if (config.version != expected) {
        return Refuse(absl::StrCat("configuration ", config.version.value(), " instead of ",
                                   expected.value()));
      }
      if (shard_count_ != 0 && config.owners.size() != shard_count_) {
        return Refuse("the number of shards changed");
      }
      shard_count_ = config.owners.size();
      configs.push_back(std::move(config));
    }
    if (answer.config_version() < expected.value()) {
      return Refuse(absl::StrCat("its configurations end at ", answer.config_version(), ", but ",
                                 expected.value(), " was seen"));
    }
    if (answer.has_registry()) {
      RETURN_IF_ERROR(ValidateRegistry(answer.registry()));
      if (answer.registry().version() <= registry_version_) {
        return Refuse(absl::StrCat("registry version ", answer.registry().version(), ", but ",
                                   registry_version_, " was seen"));
      }
    }
    *news = !configs.empty() || answer.has_registry();
    for (const ShardConfig& config : configs) {
      config_version_ = config.version;
      if (events_.on_configuration != nullptr) {
        events_.on_configuration(config);
      }
    }
    if (answer.has_registry()) {
      registry_version_ = answer.registry().version();
      if (events_.on_registry != nullptr) {
        events_.on_registry(answer.registry());
      }
    }
    return absl::OkStatus();
  }

  void AfterSuccess() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (outage_) {
      outage_ = false;
      LogInfo("shardctl_watch.back", {{"address", route_.current()}});
    }
  }

  // How long to wait before the next try.
  absl::Duration AfterFailure(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const std::string address = route_.current();
    if (route_.OnFailure(status)) {
      return absl::ZeroDuration();
    }
    if (!outage_) {
      outage_ = true;
      LogWarning("shardctl_watch.lost",
                 {{"address", address},
                  {"error",
                   absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message())}});
    }
    return backoff_.Next(status);
  }

  Executor& executor_;
  const ShardctlWatcherOptions options_;

  absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<Call> call_ ABSL_GUARDED_BY(mu_);  // the one under way
  Events events_ ABSL_GUARDED_BY(mu_);
  std::string cluster_id_ ABSL_GUARDED_BY(mu_);
  bool identified_ ABSL_GUARDED_BY(mu_);
  ConfigVersion config_version_ ABSL_GUARDED_BY(mu_);
  uint64_t registry_version_ ABSL_GUARDED_BY(mu_) = 0;
  size_t shard_count_ ABSL_GUARDED_BY(mu_) = 0;
  bool outage_ ABSL_GUARDED_BY(mu_) = false;
  LeaderRoute route_ ABSL_GUARDED_BY(mu_);
  Backoff backoff_ ABSL_GUARDED_BY(mu_);
  ChannelPool channels_;
};

ShardctlWatcher::ShardctlWatcher(Executor& executor, ShardctlWatcherOptions options, Events events)
    : loop_(std::make_shared<Loop>(executor, std::move(options), std::move(events))) {
  loop_->Start();
}

ShardctlWatcher::~ShardctlWatcher() { loop_->Stop(); }

}  // namespace ballast
