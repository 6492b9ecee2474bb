// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/cancellation.h"
#include "client/routing_cache.h"

namespace ballast::client {

// Virtual time for retry loops: waiting takes none and moves the clock.
class FakePacer final : public Pacer {
 public:
  SteadyTime Now() override;
  void Wait(absl::Duration duration, const Cancellation* cancel) override;
  absl::Duration waited() const;

 private:
  mutable absl::Mutex mu_;
  absl::Duration now_ ABSL_GUARDED_BY(mu_);
};

// A shard controller of one group, or whatever configuration a test sets.
class FakeCluster final : public ClusterSource {
 public:
  // Shards 0..15, all owned by group 1 with these masters.
  explicit FakeCluster(const std::vector<std::string>& masters);

  absl::StatusOr<v1::Configuration> CurrentConfiguration() override;
  absl::StatusOr<v1::Registry> CurrentRegistry() override;

  void Set(const v1::Configuration& configuration);
  void FailWith(const absl::Status& status);
  int fetches() const;

 private:
  mutable absl::Mutex mu_;
  v1::Configuration configuration_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  int fetches_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ballast::client
