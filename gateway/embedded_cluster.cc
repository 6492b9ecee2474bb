// SPDX-License-Identifier: Apache-2.0
#include "gateway/embedded_cluster.h"

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/shardctl_client.h"
#include "common/types/limits.h"

namespace ballast::gateway {
namespace {

constexpr char kAnyPort[] = "127.0.0.1:0";
// What a member's folder says of its own address. Nobody is sent there: a lone voter leads, or
// nobody does, and the shard controller is told the real port.
constexpr char kLoneVoter[] = "1=127.0.0.1:1";
constexpr uint32_t kGroup = 1;

void OnDiskFailure(const absl::Status& status) {
  LogError("gateway.embedded_cluster_failed", {{"error", std::string(status.message())}});
}

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddedCluster>> EmbeddedCluster::Start(
    FileSystem& fs, const EmbeddedClusterOptions& options) {
  auto cluster = std::unique_ptr<EmbeddedCluster>(new EmbeddedCluster());

  shardctl::Options controller;
  controller.folder = JoinPath(options.folder, "shardctl");
  controller.shards = options.shards;
  controller.voters = {kLoneVoter};
  controller.listen = kAnyPort;
  ASSIGN_OR_RETURN(const std::string cluster_id, shardctl::Format(fs, controller));
  ASSIGN_OR_RETURN(cluster->shardctl_, shardctl::Server::Start(fs, controller, OnDiskFailure));

  master::Options master;
  master.folder = JoinPath(options.folder, "master");
  master.cluster_id = cluster_id;
  master.shards = options.shards;
  master.group = kGroup;
  master.voters = {kLoneVoter};
  master.listen = kAnyPort;
  master.shardctl = {cluster->shardctl_address()};
  RETURN_IF_ERROR(master::Format(fs, master));
  ASSIGN_OR_RETURN(cluster->master_, master::Server::Start(fs, master, OnDiskFailure));

  RETURN_IF_ERROR(cluster->Configure(options));
  return cluster;
}

absl::Status EmbeddedCluster::Configure(const EmbeddedClusterOptions& options) {
  ShardctlClientOptions client_options;
  client_options.addresses = {shardctl_address()};
  client_options.cluster_id = cluster_id();
  client_options.backoff_min = absl::Milliseconds(1);
  ShardctlClient client(std::move(client_options));

  v1::UpdateSettingsRequest settings;
  settings.set_default_replicas(1);
  settings.set_min_replicas(1);
  // 2: nothing moves that no message asked for.
  settings.set_rebalance_auto(options.auto_rebalance ? 1 : 2);
  settings.set_inline_bytes(kInlineBytesMax);
  settings.set_heartbeat_interval_ms(
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options.heartbeat_interval)));
  RETURN_IF_ERROR(client.UpdateSettings(settings).status());

  v1::JoinRequest join;
  join.mutable_group()->set_group_id(kGroup);
  v1::MasterAddress* const member = join.mutable_group()->add_masters();
  member->set_node_id(1);
  member->set_address(master_address());
  return client.Join(join).status();
}

}  // namespace ballast::gateway
