// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "common/raft/state_machine.h"
#include "common/types/shard_config.h"
#include "protos/shardctl_log.pb.h"
#include "protos/shardctl_service.pb.h"
#include "services/shardctl/core/pool_table.h"

namespace ballast::shardctl {

// The shard controller's replicated state: every configuration, the registry of chunk servers, the
// cluster settings and the routing pools. The single image is "controller".
//
// Invariants
//  * configurations are numbered 1, 2, 3, ... without gaps and never change;
//  * every configuration has `shard_count` owners, none of them 0;
//  * 1 <= server_index < next_server_index <= 65536, each given once, to one server id, for ever;
//  * a server's boot epoch never falls;
//  * all servers together take at most kRegistryBytesMax in a message: some 30,000 with usual
//    addresses; then registrations are REGISTRY_FULL, as when the numbers have run out;
//  * the registry's version starts at 1 and grows by one with every change of a server or setting.
//
// What commands do (results carry the codes of shardctl_service.proto):
//  * All are idempotent by content: one that asks for what is already so changes nothing and is OK,
//    whatever version it expected, so that a retry after a lost reply succeeds.
//  * Join: the first gives the group every shard. Of a member with other addresses: the next
//    configuration with the same owners. Of another group: NOT_SUPPORTED_YET, since shards would
//    have to move.
//  * Leave of a member and Move to another member: NOT_SUPPORTED_YET.
//  * Register: a new server gets the next index and is ACTIVE; a known one with a higher boot epoch
//    gets its new address, zone, name and no_placement and keeps its state. A lower epoch is
//    STALE_BOOT. The same epoch with any of these changed is DUPLICATE_SERVER: one boot has one
//    address, so this is a second holder of a copied folder.
//  * A REMOVED server is refused (UNKNOWN_SERVER) with any epoch, else a restart would undo the
//    removal. It comes back when an operator sets it ACTIVE or DRAINING, keeping its index, or when
//    its folder is formatted anew, as a server with a new id and a new index.
//
// Concurrency: none; owned by the log's executor.
class ConfigMachine final : public StateMachine {
 public:
  // Requires: 1 <= shard_count <= kShardsMax.
  explicit ConfigMachine(uint32_t shard_count);

  std::string Apply(RaftIndex index, absl::string_view command) override;
  std::vector<std::string> ImageNames() const override;
  std::string TakeImage(const std::string& name) const override;
  absl::Status RestoreImage(const std::string& name, absl::string_view image) override;
  void Reset() override;

  uint32_t shard_count() const { return shard_count_; }
  // 0 before the first Join.
  ConfigVersion current_version() const { return ConfigVersion(configs_.size()); }
  // Null unless 1 <= version <= current_version().
  const ShardConfig* FindConfig(ConfigVersion version) const;
  uint64_t registry_version() const { return registry_version_; }
  v1::Registry RegistryProto() const;
  const v1::shardctl_log::Settings& settings() const { return settings_; }
  const PoolTable& pools() const { return pools_; }
  // Null if it never registered.
  const v1::shardctl_log::Server* FindServer(absl::string_view server_id) const;

 private:
  using Command = v1::shardctl_log::Command;

  // Each changes the state or nothing; OK, or the failure to report.
  absl::Status ApplyJoin(const Command::Join& join);
  absl::Status ApplyLeave(const Command::Leave& leave) const;
  absl::Status ApplyMove(const Command::Move& move) const;
  absl::Status ApplyRegister(const Command::Register& reg);
  // Adds the server or replaces the one with its index, if there is room.
  absl::Status PutServer(v1::shardctl_log::Server server);
  absl::Status ApplySetState(const Command::SetState& set);
  absl::Status ApplyUpdateSettings(const Command::UpdateSettings& update);

  absl::Status CheckExpected(bool has_expected, uint64_t expected) const;
  const GroupMembers* FindMember(uint32_t group_id) const;

  const uint32_t shard_count_;
  RaftIndex applied_;
  std::vector<ShardConfig> configs_;  // configs_[i] is number i + 1
  uint64_t registry_version_ = 1;
  absl::btree_map<uint32_t, v1::shardctl_log::Server> servers_;  // by server_index
  absl::btree_map<std::string, uint32_t> index_of_;              // server_id -> server_index
  uint32_t next_server_index_ = 1;
  size_t servers_bytes_ = 0;  // of all servers in a message
  v1::shardctl_log::Settings settings_;
  PoolTable pools_;
};

}  // namespace ballast::shardctl
