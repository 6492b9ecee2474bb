// SPDX-License-Identifier: Apache-2.0
#include "client/routing_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast::client {
namespace {

// A shard without an owner is somebody's again when an operator or a script says so.
constexpr absl::Duration kUnownedRetry = absl::Milliseconds(500);

absl::Status NoGroupYet() {
  return absl::FailedPreconditionError(
      "the cluster has no master group yet; add one with 'ballast group join 1 HOST:PORT'");
}

bool IsMember(const GroupMembers& group, absl::string_view address) {
  return std::any_of(group.masters.begin(), group.masters.end(),
                     [&](const MasterEndpoint& m) { return m.address == address; });
}

}  // namespace

absl::Status RoutingCache::EnsureLoaded() {
  {
    absl::MutexLock lock(&mu_);
    if (!config_.groups.empty()) {
      return absl::OkStatus();
    }
  }
  RETURN_IF_ERROR(Refresh(ConfigVersion(0)));
  absl::MutexLock lock(&mu_);
  return config_.groups.empty() ? NoGroupYet() : absl::OkStatus();
}

absl::Status RoutingCache::Refresh(ConfigVersion stale) {
  absl::MutexLock fetch_lock(&fetch_mu_);
  {
    absl::MutexLock lock(&mu_);
    if (config_.version > stale && !config_.groups.empty()) {
      return absl::OkStatus();
    }
  }
  ASSIGN_OR_RETURN(const v1::Configuration fetched, source_.CurrentConfiguration());
  if (fetched.version() == 0) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(ShardConfig config, ShardConfig::FromProto(fetched));
  absl::MutexLock lock(&mu_);
  if (config.version <= config_.version) {
    return absl::OkStatus();
  }
  config_ = std::move(config);
  for (auto it = preferred_.begin(); it != preferred_.end();) {
    const GroupMembers* group = config_.FindGroup(it->first);
    it = group != nullptr && IsMember(*group, it->second) ? std::next(it) : preferred_.erase(it);
  }
  return absl::OkStatus();
}

bool RoutingCache::IsUnowned(const Target& target, ConfigVersion* version) {
  absl::MutexLock lock(&mu_);
  *version = config_.version;
  const ShardId* const shard = std::get_if<ShardId>(&target);
  return shard != nullptr && shard->value() < config_.owners.size() &&
         config_.owners[shard->value()] == GroupId(0);
}

absl::StatusOr<Route> RoutingCache::Find(const Target& target) {
  RETURN_IF_ERROR(EnsureLoaded());
  ConfigVersion seen;
  if (IsUnowned(target, &seen)) {
    RETURN_IF_ERROR(Refresh(seen));
    if (IsUnowned(target, &seen)) {
      return NotReadyError(absl::StrCat("nobody owns shard ", std::get<ShardId>(target).value(),
                                        " in configuration ", seen.value()),
                           kUnownedRetry);
    }
  }
  absl::MutexLock lock(&mu_);
  GroupId id;
  if (const ShardId* shard = std::get_if<ShardId>(&target)) {
    if (shard->value() >= config_.owners.size()) {
      return InvalidArgument(absl::StrCat("shard ", shard->value(), " of ", config_.owners.size()));
    }
    id = config_.owners[shard->value()];
  } else {
    id = std::get<GroupId>(target);
  }
  const GroupMembers* group = config_.FindGroup(id);
  if (group == nullptr) {
    return MakeError(
        v1::REASON_UNKNOWN_GROUP,
        absl::StrCat("no group ", id.value(), " in configuration ", config_.version.value()));
  }
  const auto it = preferred_.find(id);
  return Route{id, it != preferred_.end() ? it->second : group->masters.front().address,
               config_.version};
}

absl::StatusOr<std::vector<GroupId>> RoutingCache::Groups() {
  ASSIGN_OR_RETURN(const ShardConfig config, Configuration());
  std::vector<GroupId> ids;
  ids.reserve(config.groups.size());
  for (const GroupMembers& group : config.groups) {
    ids.push_back(group.group);
  }
  return ids;
}

absl::StatusOr<ShardConfig> RoutingCache::Configuration() {
  RETURN_IF_ERROR(EnsureLoaded());
  absl::MutexLock lock(&mu_);
  return config_;
}

absl::StatusOr<uint32_t> RoutingCache::ShardCount() {
  RETURN_IF_ERROR(EnsureLoaded());
  absl::MutexLock lock(&mu_);
  return static_cast<uint32_t>(config_.owners.size());
}

bool RoutingCache::LearnLeader(GroupId group_id, absl::string_view address) {
  absl::MutexLock lock(&mu_);
  const GroupMembers* group = config_.FindGroup(group_id);
  if (group == nullptr || !IsMember(*group, address)) {
    return false;
  }
  preferred_[group_id] = std::string(address);
  return true;
}

void RoutingCache::Avoid(const Route& route) {
  absl::MutexLock lock(&mu_);
  const GroupMembers* group = config_.FindGroup(route.group);
  if (group == nullptr) {
    return;
  }
  const auto it = preferred_.find(route.group);
  const std::string& current = it != preferred_.end() ? it->second : group->masters.front().address;
  if (current != route.address) {
    return;  // another call has moved on already
  }
  size_t index = 0;
  while (index < group->masters.size() && group->masters[index].address != current) {
    ++index;
  }
  preferred_[route.group] = group->masters[(index + 1) % group->masters.size()].address;
}

}  // namespace ballast::client
