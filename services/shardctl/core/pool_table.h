// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/routing/hash_ring.h"
#include "protos/pool_service.pb.h"
#include "protos/shardctl_log.pb.h"

namespace ballast::shardctl {

// The routing pools of the cluster, as the replicated log makes them; a part of ConfigMachine.
//
// Invariants: a pool's servers are ordered by id, each once; versions of a name never fall, also
// over deletion; the limits below hold. Concurrency: none. Failure: as pool_service.proto says; a
// failed change changes nothing.
class PoolTable {
 public:
  static constexpr size_t kPoolsMax = 1000;
  static constexpr int kServersMax = 10'000;        // of one pool
  static constexpr uint64_t kPointsMax = 1u << 21;  // of one pool
  static constexpr size_t kPoolBytesMax = size_t{3} << 20;
  static constexpr size_t kBytesMax = size_t{16} << 20;  // of all pools
  static constexpr uint32_t kPointsPerWeight = 1024;     // the default
  static constexpr double kWeightMax = 1000;

  using Command = v1::shardctl_log::Command;
  using Pool = v1::shardctl_log::Pool;

  absl::Status Apply(const Command::CreatePool& create);
  absl::Status Apply(const Command::DeletePool& erase);
  absl::Status Apply(const Command::PutPoolServer& put);
  absl::Status Apply(const Command::RemovePoolServer& remove);

  // Grows with every change.
  uint64_t version() const { return version_; }
  // Null if there is none. Valid until the next change.
  const Pool* Find(absl::string_view name) const;
  const absl::btree_map<std::string, Pool>& pools() const { return pools_; }

  void Save(v1::shardctl_log::Image* image) const;
  // DATA_LOSS: the image breaks an invariant; the table is empty then.
  absl::Status Restore(const v1::shardctl_log::Image& image);
  void Clear();

 private:
  absl::Status Change(Pool pool);  // replaces the pool of this name, within the limits

  absl::btree_map<std::string, Pool> pools_;
  uint64_t version_ = 0;
  size_t bytes_ = 0;  // of all pools, serialised
};

// POOL_NOT_FOUND.
absl::Status NoPool(absl::string_view name);

// What can be checked without the table: INVALID_ARGUMENT, naming the field.
absl::Status ValidatePoolName(absl::string_view name);
absl::Status ValidatePoolServerId(absl::string_view id);
absl::Status ValidateWeight(double weight);
absl::Status ValidatePointsPerWeight(uint32_t points);

// A server's points on the ring of a pool.
uint32_t PointsOf(const v1::shardctl_log::PoolServer& server, uint32_t points_per_weight);
v1::Pool ToWire(const v1::shardctl_log::Pool& pool);
// For HashRing::Make.
std::vector<HashRing::Server> RingServersOf(const v1::shardctl_log::Pool& pool);

}  // namespace ballast::shardctl
