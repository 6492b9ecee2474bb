// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"
#include "protos/shardctl_service.pb.h"

namespace ballast {

struct MasterEndpoint {
  NodeId node;
  std::string address;  // host:port
  friend bool operator==(const MasterEndpoint&, const MasterEndpoint&) = default;
};

struct GroupMembers {
  GroupId group;
  std::vector<MasterEndpoint> masters;  // by node id
  friend bool operator==(const GroupMembers&, const GroupMembers&) = default;
};

// A configuration: immutable value. Invariants (FromProto checks them): version >= 1; 1 to 65536
// shards; every owner is 0 or in `groups`; groups and masters sorted, unique, numbered from 1 (the
// masters of a group may come in any order and are sorted). Owner 0: nobody known. shardctl makes
// that before the first Join only; a group of its own controller may have it later.
struct ShardConfig {
  ConfigVersion version;
  std::vector<GroupId> owners;  // index = shard
  std::vector<GroupMembers> groups;

  // Null if there is no such group.
  const GroupMembers* FindGroup(GroupId id) const;

  static absl::StatusOr<ShardConfig> FromProto(const v1::Configuration& proto);
  v1::Configuration ToProto() const;
  friend bool operator==(const ShardConfig&, const ShardConfig&) = default;
};

// OK for "host:port" with a non-empty host and a port of 1..65535.
absl::Status ValidateAddress(absl::string_view address);

// OK for a group that Join may add: id >= 1, 1, 3 or 5 masters, node ids unique and >= 1, addresses
// valid and unique.
absl::Status ValidateGroup(const v1::GroupInfo& group);

}  // namespace ballast
