// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "common/env/executor.h"
#include "common/types/ids.h"
#include "common/types/shard_config.h"
#include "protos/shardctl_service.pb.h"

namespace ballast {

struct ShardctlWatcherOptions {
  // host:port of every shardctl process, at least one.
  std::vector<std::string> addresses;
  // Empty: learned from the first answer, then fixed.
  std::string cluster_id;
  // Configurations up to and including this one are known to the caller and not delivered.
  ConfigVersion after;
  // How long shardctl may hold a call without news. A call that is not answered within this time
  // and `answer_timeout` counts as failed, so a silent partition is noticed.
  absl::Duration wait = absl::Seconds(20);
  absl::Duration answer_timeout = absl::Seconds(5);
  // Pause after a failed call: doubled from min to max, each jittered by up to half.
  absl::Duration backoff_min = absl::Milliseconds(20);
  absl::Duration backoff_max = absl::Seconds(2);
};

// Follows the shard controller: hands over every configuration, and the registry when it changes.
//
// Guarantees: on_configuration gets `after` + 1, + 2, ... each exactly once, in order, without
// gaps; on_registry gets the first registry and then only higher versions (of several changes in
// quick succession perhaps only the last). What is delivered has been validated. While shardctl
// cannot be reached nothing is delivered or taken back; one warning is logged an outage, one line
// when it ends. Answers of another cluster are refused and treated as an outage.
// Concurrency: events run on `executor`, one at a time. Construct and destroy on any thread; not
// from inside an event.
// Ownership and lifetime: `executor` must outlive the watcher. After the destructor has returned,
// no event runs.
class ShardctlWatcher {
 public:
  struct Events {
    absl::AnyInvocable<void(const ShardConfig&)> on_configuration;
    absl::AnyInvocable<void(const v1::Registry&)> on_registry;  // servers by index, settings set
    // Optional: the cluster's facts, once, before anything else.
    absl::AnyInvocable<void(const v1::GetClusterResponse&)> on_cluster;
  };

  ShardctlWatcher(Executor& executor, ShardctlWatcherOptions options, Events events);
  ~ShardctlWatcher();
  ShardctlWatcher(const ShardctlWatcher&) = delete;
  ShardctlWatcher& operator=(const ShardctlWatcher&) = delete;

 private:
  class Loop;
  std::shared_ptr<Loop> loop_;
};

}  // namespace ballast
