// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/client/fake_cluster.h"

namespace ballast::client {

SteadyTime FakePacer::Now() {
  absl::MutexLock lock(&mu_);
  return SteadyTime::FromOrigin(now_);
}

void FakePacer::Wait(absl::Duration duration, const Cancellation*) {
  absl::MutexLock lock(&mu_);
  now_ += duration;
}

absl::Duration FakePacer::waited() const {
  absl::MutexLock lock(&mu_);
  return now_;
}

FakeCluster::FakeCluster(const std::vector<std::string>& masters) {
  configuration_.set_version(1);
  for (int shard = 0; shard < 16; ++shard) {
    configuration_.add_shard_owner(1);
  }
  v1::GroupInfo* const group = configuration_.add_groups();
  group->set_group_id(1);
  for (size_t i = 0; i < masters.size(); ++i) {
    v1::MasterAddress* const master = group->add_masters();
    master->set_node_id(static_cast<uint32_t>(i + 1));
    master->set_address(masters[i]);
  }
}

absl::StatusOr<v1::Configuration> FakeCluster::CurrentConfiguration() {
  absl::MutexLock lock(&mu_);
  ++fetches_;
  if (!failure_.ok()) {
    return failure_;
  }
  return configuration_;
}

absl::StatusOr<v1::Registry> FakeCluster::CurrentRegistry() { return v1::Registry(); }

void FakeCluster::Set(const v1::Configuration& configuration) {
  absl::MutexLock lock(&mu_);
  configuration_ = configuration;
}

void FakeCluster::FailWith(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  failure_ = status;
}

int FakeCluster::fetches() const {
  absl::MutexLock lock(&mu_);
  return fetches_;
}

}  // namespace ballast::client
