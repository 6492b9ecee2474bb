// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/heartbeater.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/log.h"

namespace ballast::chunkserver {

Heartbeater::Heartbeater(HeartbeaterOptions options, Executor& executor, Clock& clock,
                         std::shared_ptr<PostGate> gate, ChunkStore& store,
                         ServerIdentity& identity, FenceTable fences, PostBlocking post_blocking,
                         ChunkCopier& copier, TrafficControl& traffic, MasterStreams& streams,
                         Callbacks callbacks)
    : options_(std::move(options)),
      executor_(executor),
      gate_(gate),
      store_(store),
      identity_(identity),
      post_blocking_(post_blocking),
      callbacks_(std::move(callbacks)),
      world_{.executor = executor,
             .clock = clock,
             .gate = gate,
             .store = store,
             .streams = streams,
             .make_heartbeat = [this] { return MakeHeartbeat(); },
             .interval = [this] { return interval_; },
             .on_commands =
                 [this](uint64_t source, const v1::HeartbeatReply& reply) {
                   commands_.Take(source, reply.commands());
                 },
             .on_unknown_server =
                 [this] {
                   if (!registering_) {
                     registering_ = true;
                     callbacks_.register_server();
                   }
                 },
             .on_fatal = [this](const absl::Status& status) { Fail(status); }},
      commands_(store, identity, std::move(fences), gate, post_blocking, copier, &traffic,
                [this](const QueuedCommand& command, v1::CommandResult result) {
                  for (auto& [group, session] : sessions_) {
                    if (session->source() == command.source) {
                      session->AddResult(std::move(result));
                      return;
                    }
                  }
                }),
      interval_(options_.interval) {}

Heartbeater::~Heartbeater() = default;

void Heartbeater::Start() {
  registering_ = true;
  callbacks_.register_server();
  RefreshUsage();
}

void Heartbeater::OnRegistered() {
  registering_ = false;
  registered_ = true;
  SyncSessions();
}

void Heartbeater::OnRegistry(const v1::Registry& registry) {
  callbacks_.on_settings(registry.settings());
  const absl::Duration interval = absl::Milliseconds(registry.settings().heartbeat_interval_ms());
  if (interval == interval_) {
    return;
  }
  interval_ = interval;
  for (auto& [group, session] : sessions_) {
    session->OnIntervalChanged();
  }
  // The space used must not be older than masters think that a heartbeat's is.
  if (usage_timer_.has_value()) {
    executor_.Cancel(*usage_timer_);
    usage_timer_.reset();
    RefreshUsage();
  }
}

void Heartbeater::OnConfiguration(const ShardConfig& config) {
  config_ = config;
  config_version_ = config.version.value();
  SyncSessions();
}

// One session per group that owns shards, with the addresses of the current configuration.
void Heartbeater::SyncSessions() {
  if (!registered_ || !usage_known_ || stopping_ || config_version_ == 0) {
    return;
  }
  std::map<GroupId, std::vector<ShardId>> shards;
  for (size_t shard = 0; shard < config_.owners.size(); ++shard) {
    if (config_.owners[shard].value() != 0) {
      shards[config_.owners[shard]].push_back(ShardId(static_cast<uint32_t>(shard)));
    }
  }
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    const GroupMembers* members = config_.FindGroup(it->first);
    const bool keep =
        members != nullptr && shards.count(it->first) != 0 && *members == it->second->members();
    it = keep ? std::next(it) : sessions_.erase(it);
  }
  for (const auto& [group, owned] : shards) {
    const auto it = sessions_.find(group);
    if (it != sessions_.end()) {
      it->second->SetShards(owned);
    } else {
      sessions_[group] =
          std::make_unique<GroupSession>(world_, next_source_++, *config_.FindGroup(group), owned);
    }
  }
}

void Heartbeater::OnNews() {
  for (auto& [group, session] : sessions_) {
    session->OnNews();
  }
}

// Asks the file system for its space, off this thread, again and again.
void Heartbeater::RefreshUsage() {
  post_blocking_([this, gate = gate_, &store = store_] {
    const StoreUsage usage = store.Usage();
    gate->Post([this, usage] {
      usage_ = usage;
      if (!usage_known_) {
        usage_known_ = true;
        SyncSessions();
      }
      usage_timer_ = executor_.RunAfter(interval_ / 2, [this] {
        usage_timer_.reset();
        RefreshUsage();
      });
    });
  });
}

v1::Heartbeat Heartbeater::MakeHeartbeat() const {
  v1::Heartbeat heartbeat;
  heartbeat.set_cluster_id(identity_.cluster_id());
  heartbeat.set_server_id(identity_.server_id());
  heartbeat.set_boot_epoch(identity_.boot_epoch());
  heartbeat.set_incarnation(options_.incarnation);
  heartbeat.set_config_version(config_version_);
  heartbeat.set_capacity_bytes(usage_.capacity_bytes);
  heartbeat.set_used_bytes(usage_.used_bytes);
  heartbeat.set_incoming_bytes(usage_.incoming_bytes);
  if (usage_.capacity_bytes > 0) {
    heartbeat.set_disk_utilization_pct(
        std::min(100.0, 100.0 * static_cast<double>(usage_.used_bytes) /
                            static_cast<double>(usage_.capacity_bytes)));
  }
  if (stopping_) {
    heartbeat.set_health(v1::SERVER_HEALTH_STOPPING);
  } else if (!store_.serving()) {
    heartbeat.set_health(v1::SERVER_HEALTH_LOADING);
  } else if (!store_.healthy()) {
    heartbeat.set_health(v1::SERVER_HEALTH_DEGRADED);
    heartbeat.set_health_text("the disk has reported errors");
  } else {
    heartbeat.set_health(v1::SERVER_HEALTH_OK);
  }
  heartbeat.set_zone(options_.zone);
  heartbeat.set_address(options_.address);
  return heartbeat;
}

void Heartbeater::SayStopping() {
  stopping_ = true;
  for (auto& [group, session] : sessions_) {
    session->SayStopping();
  }
}

void Heartbeater::Fail(const absl::Status& status) {
  if (!stopping_) {
    stopping_ = true;
    callbacks_.on_fatal(status);
  }
}

}  // namespace ballast::chunkserver
