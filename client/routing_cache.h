// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/types/ids.h"
#include "common/types/shard_config.h"
#include "protos/shardctl_service.pb.h"

namespace ballast::client {

// The shard controller as the data paths need it: a seam, so that they can be tested without one.
// Thread-safe; both calls block and do their own retrying.
class ClusterSource {
 public:
  virtual ~ClusterSource() = default;
  // The current configuration; version 0 while there is none.
  virtual absl::StatusOr<v1::Configuration> CurrentConfiguration() = 0;
  virtual absl::StatusOr<v1::Registry> CurrentRegistry() = 0;
};

// Whom a metadata call is for: the owner of a shard, or a group.
using Target = std::variant<ShardId, GroupId>;

struct Route {
  GroupId group;
  std::string address;    // of the member to ask
  ConfigVersion version;  // of the configuration this follows from
};

// The configuration as last seen, and for each group which member to ask: the last known leader,
// or the next in turn after a failure.
//
// Guarantees: versions never go back. A hint is believed only if it names a member of the group.
// Works on with what it has while the shard controller is down.
// Concurrency: thread-safe; at most one fetch at a time, others wait for it and share its result.
// Ownership: `source` must outlive it.
class RoutingCache {
 public:
  explicit RoutingCache(ClusterSource& source) : source_(source) {}

  // Where to send. Fetches the configuration if none is known (only then it blocks).
  //   FAILED_PRECONDITION   no group has joined yet; the text says what to do
  //   NOT_FOUND             the group is not in the configuration
  //   UNAVAILABLE / NOT_READY   nobody owns the shard, also not in the newest configuration
  //   the source's errors
  absl::StatusOr<Route> Find(const Target& target);

  // Numbers of all groups, ascending; fails like Find.
  absl::StatusOr<std::vector<GroupId>> Groups();

  // The whole configuration; fails like Find.
  absl::StatusOr<ShardConfig> Configuration();

  // Shards of the cluster; fails like Find.
  absl::StatusOr<uint32_t> ShardCount();

  // The member asked says that this one leads; ignored unless it is a member. True if taken over.
  bool LearnLeader(GroupId group, absl::string_view address);

  // The member of `route` did not answer or does not lead: ask the next one from now on.
  void Avoid(const Route& route);

  // Fetches unless a configuration above `stale` is known already. OK also if there is no newer
  // one.
  absl::Status Refresh(ConfigVersion stale);

 private:
  absl::Status EnsureLoaded();
  // True for a shard that has no owner; `version` becomes that of the configuration looked at.
  bool IsUnowned(const Target& target, ConfigVersion* version);

  ClusterSource& source_;
  absl::Mutex fetch_mu_;  // held over a fetch; before mu_
  absl::Mutex mu_;
  ShardConfig config_ ABSL_GUARDED_BY(mu_);                        // version 0: none known
  std::map<GroupId, std::string> preferred_ ABSL_GUARDED_BY(mu_);  // absent: the first member
};

}  // namespace ballast::client
