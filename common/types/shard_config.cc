// SPDX-License-Identifier: Apache-2.0
#include "common/types/shard_config.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast {

const GroupMembers* ShardConfig::FindGroup(GroupId id) const {
  const auto it = std::lower_bound(groups.begin(), groups.end(), id,
                                   [](const GroupMembers& g, GroupId i) { return g.group < i; });
  return it != groups.end() && it->group == id ? &*it : nullptr;
}

absl::Status ValidateAddress(absl::string_view address) {
  const size_t colon = address.rfind(':');
  const auto fits_a_host = [](char c) { return absl::ascii_isgraph(c) && c != '/'; };
  uint32_t port = 0;
  if (colon == absl::string_view::npos || colon == 0 || address.size() > 255 ||
      !std::all_of(address.begin(), address.end(), fits_a_host) ||
      !std::all_of(address.begin() + colon + 1, address.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return InvalidArgument(absl::StrCat("'", absl::Utf8SafeCHexEscape(address.substr(0, 255)),
                                        "' is not an address of the form HOST:PORT"));
  }
  return absl::OkStatus();
}

absl::Status ValidateGroup(const v1::GroupInfo& group) {
  if (group.group_id() == 0) {
    return InvalidArgument("a group's number is 1 or more");
  }
  const int count = group.masters_size();
  if (count != 1 && count != 3 && count != 5) {
    return InvalidArgument(absl::StrCat("a group has 1, 3 or 5 masters, not ", count));
  }
  std::set<uint32_t> nodes;
  std::set<std::string> addresses;
  for (const v1::MasterAddress& master : group.masters()) {
    RETURN_IF_ERROR(ValidateAddress(master.address()));
    if (master.node_id() == 0 || !nodes.insert(master.node_id()).second ||
        !addresses.insert(master.address()).second) {
      return InvalidArgument(
          "the masters of a group need different numbers from 1 up and different addresses");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardConfig> ShardConfig::FromProto(const v1::Configuration& proto) {
  ShardConfig config;
  config.version = ConfigVersion(proto.version());
  if (proto.version() == 0 || proto.shard_owner_size() == 0 ||
      proto.shard_owner_size() > static_cast<int>(kShardsMax)) {
    return InvalidArgument("a configuration needs a number from 1 and 1 to 65536 shards");
  }
  for (const v1::GroupInfo& group : proto.groups()) {
    RETURN_IF_ERROR(ValidateGroup(group));
    GroupMembers members{.group = GroupId(group.group_id()), .masters = {}};
    for (const v1::MasterAddress& master : group.masters()) {
      members.masters.push_back({NodeId(master.node_id()), master.address()});
    }
    std::sort(members.masters.begin(), members.masters.end(),
              [](const MasterEndpoint& a, const MasterEndpoint& b) { return a.node < b.node; });
    if (!config.groups.empty() && config.groups.back().group >= members.group) {
      return InvalidArgument("the groups of a configuration are not in order");
    }
    config.groups.push_back(std::move(members));
  }
  config.owners.reserve(static_cast<size_t>(proto.shard_owner_size()));
  for (const uint32_t owner : proto.shard_owner()) {
    const GroupId id(owner);
    if (owner != 0 && config.FindGroup(id) == nullptr) {
      return InvalidArgument(absl::StrCat("shard ", config.owners.size(), " has owner ", owner,
                                          ", which is not a group of the configuration"));
    }
    config.owners.push_back(id);
  }
  return config;
}

v1::Configuration ShardConfig::ToProto() const {
  v1::Configuration proto;
  proto.set_version(version.value());
  for (const GroupId owner : owners) {
    proto.add_shard_owner(owner.value());
  }
  for (const GroupMembers& group : groups) {
    v1::GroupInfo* info = proto.add_groups();
    info->set_group_id(group.group.value());
    for (const MasterEndpoint& master : group.masters) {
      v1::MasterAddress* address = info->add_masters();
      address->set_node_id(master.node.value());
      address->set_address(master.address);
    }
  }
  return proto;
}

}  // namespace ballast
