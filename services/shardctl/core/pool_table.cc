// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/core/pool_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/key.h"

namespace ballast::shardctl {
namespace {

namespace log = v1::shardctl_log;

constexpr size_t kNameBytesMax = 64;
constexpr size_t kServerIdBytesMax = 256;
constexpr uint32_t kPointsPerWeightMax = 65536;

absl::Status Full(absl::string_view what) {
  return MakeError(v1::REASON_POOLS_FULL, absl::StrCat("no room: ", what));
}

// The place of `id` in a pool's servers, or where it would be.
template <typename Servers>
int PlaceOf(const Servers& servers, absl::string_view id) {
  const auto it = std::lower_bound(
      servers.begin(), servers.end(), id,
      [](const log::PoolServer& server, absl::string_view value) { return server.id() < value; });
  return static_cast<int>(it - servers.begin());
}

bool IsAt(const log::Pool& pool, int place, absl::string_view id) {
  return place < pool.servers_size() && pool.servers(place).id() == id;
}

uint64_t PointSum(const log::Pool& pool) {
  uint64_t sum = 0;
  for (const log::PoolServer& server : pool.servers()) {
    // What drains counts too, so that it can always come back.
    sum += RingPoints(server.weight(), pool.points_per_weight());
  }
  return sum;
}

absl::Status Validate(const log::Pool& pool) {
  RETURN_IF_ERROR(ValidatePoolName(pool.name()));
  RETURN_IF_ERROR(ValidatePointsPerWeight(pool.points_per_weight()));
  const log::PoolServer* before = nullptr;
  for (const log::PoolServer& server : pool.servers()) {
    RETURN_IF_ERROR(ValidatePoolServerId(server.id()));
    RETURN_IF_ERROR(ValidateWeight(server.weight()));
    if (before != nullptr && before->id() >= server.id()) {
      return InvalidArgument("servers of a pool are in order");
    }
    before = &server;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status NoPool(absl::string_view name) {
  return MakeError(v1::REASON_POOL_NOT_FOUND, absl::StrCat("there is no pool '", name, "'"));
}

absl::Status ValidatePoolName(absl::string_view name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
  return !name.empty() && name.size() <= kNameBytesMax && plain
             ? absl::OkStatus()
             : InvalidArgument(absl::StrCat("a pool's name is 1 to ", kNameBytesMax,
                                            " characters of [A-Za-z0-9._-]"));
}

absl::Status ValidatePoolServerId(absl::string_view id) {
  const bool control = std::any_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
  return !id.empty() && id.size() <= kServerIdBytesMax && !control && IsValidUtf8(id)
             ? absl::OkStatus()
             : InvalidArgument(absl::StrCat("a pool server's id is 1 to ", kServerIdBytesMax,
                                            " bytes of UTF-8 without control characters"));
}

absl::Status ValidateWeight(double weight) {
  return weight >= 0 && weight <= PoolTable::kWeightMax  // false for what is no number
             ? absl::OkStatus()
             : InvalidArgument(absl::StrCat("a weight is 0 to ", PoolTable::kWeightMax));
}

absl::Status ValidatePointsPerWeight(uint32_t points) {
  return points >= 1 && points <= kPointsPerWeightMax
             ? absl::OkStatus()
             : InvalidArgument(absl::StrCat("points_per_weight is 1 to ", kPointsPerWeightMax));
}

uint32_t PointsOf(const log::PoolServer& server, uint32_t points_per_weight) {
  return server.draining() ? 0 : RingPoints(server.weight(), points_per_weight);
}

v1::Pool ToWire(const log::Pool& pool) {
  v1::Pool wire;
  wire.set_name(pool.name());
  wire.set_version(pool.version());
  wire.set_points_per_weight(pool.points_per_weight());
  for (const log::PoolServer& server : pool.servers()) {
    v1::PoolServer* const added = wire.add_servers();
    added->set_id(server.id());
    added->set_weight(server.weight());
    added->set_draining(server.draining());
    added->set_points(PointsOf(server, pool.points_per_weight()));
  }
  return wire;
}

std::vector<HashRing::Server> RingServersOf(const log::Pool& pool) {
  std::vector<HashRing::Server> servers;
  for (const log::PoolServer& server : pool.servers()) {
    servers.push_back({server.id(), PointsOf(server, pool.points_per_weight())});
  }
  return servers;
}

const PoolTable::Pool* PoolTable::Find(absl::string_view name) const {
  const auto it = pools_.find(name);
  return it == pools_.end() ? nullptr : &it->second;
}

absl::Status PoolTable::Change(Pool pool) {
  const auto old = pools_.find(pool.name());
  if (old == pools_.end() && pools_.size() >= kPoolsMax) {
    return Full(absl::StrCat("there are ", kPoolsMax, " pools"));
  }
  if (pool.servers_size() > kServersMax) {
    return Full(absl::StrCat("a pool has at most ", kServersMax, " servers"));
  }
  if (PointSum(pool) > kPointsMax) {
    return Full(
        absl::StrCat("the servers of a pool have at most ", kPointsMax, " points together"));
  }
  pool.set_version(version_ + 1);
  const size_t bytes =
      bytes_ + pool.ByteSizeLong() - (old == pools_.end() ? 0 : old->second.ByteSizeLong());
  if (pool.ByteSizeLong() > kPoolBytesMax || bytes > kBytesMax) {
    return Full("the pools take too many bytes");
  }
  ++version_;
  bytes_ = bytes;
  std::string name = pool.name();
  pools_[std::move(name)] = std::move(pool);
  return absl::OkStatus();
}

absl::Status PoolTable::Apply(const Command::CreatePool& create) {
  RETURN_IF_ERROR(ValidatePoolName(create.name()));
  RETURN_IF_ERROR(ValidatePointsPerWeight(create.points_per_weight()));
  if (const Pool* const known = Find(create.name())) {
    return known->points_per_weight() == create.points_per_weight()
               ? absl::OkStatus()
               : MakeError(v1::REASON_POOL_EXISTS,
                           absl::StrCat("pool '", create.name(), "' has ",
                                        known->points_per_weight(), " points per weight"));
  }
  Pool pool;
  pool.set_name(create.name());
  pool.set_points_per_weight(create.points_per_weight());
  return Change(std::move(pool));
}

absl::Status PoolTable::Apply(const Command::DeletePool& erase) {
  const auto it = pools_.find(erase.name());
  if (it == pools_.end()) {
    return NoPool(erase.name());
  }
  bytes_ -= it->second.ByteSizeLong();
  pools_.erase(it);
  ++version_;
  return absl::OkStatus();
}

absl::Status PoolTable::Apply(const Command::PutPoolServer& put) {
  RETURN_IF_ERROR(ValidatePoolServerId(put.id()));
  if (put.has_weight()) {
    RETURN_IF_ERROR(ValidateWeight(put.weight()));
  }
  const Pool* const known = Find(put.pool());
  if (known == nullptr) {
    return NoPool(put.pool());
  }
  const int place = PlaceOf(known->servers(), put.id());
  const bool is_new = !IsAt(*known, place, put.id());
  log::PoolServer server;
  if (is_new) {
    server.set_id(put.id());
    server.set_weight(1);
  } else {
    server = known->servers(place);
  }
  // Plus zero: of the two zeros only one.
  if (put.has_weight()) server.set_weight(put.weight() + 0.0);
  if (put.has_draining()) server.set_draining(put.draining());
  if (!is_new && server.weight() == known->servers(place).weight() &&
      server.draining() == known->servers(place).draining()) {
    return absl::OkStatus();
  }
  Pool pool = *known;
  if (is_new) {
    pool.add_servers();
    for (int i = pool.servers_size() - 1; i > place; --i) {
      pool.mutable_servers()->SwapElements(i, i - 1);
    }
  }
  *pool.mutable_servers(place) = std::move(server);
  return Change(std::move(pool));
}

absl::Status PoolTable::Apply(const Command::RemovePoolServer& remove) {
  const Pool* const known = Find(remove.pool());
  if (known == nullptr) {
    return NoPool(remove.pool());
  }
  const int place = PlaceOf(known->servers(), remove.id());
  if (!IsAt(*known, place, remove.id())) {
    return MakeError(v1::REASON_UNKNOWN_SERVER,
                     absl::StrCat("pool '", remove.pool(), "' has no server '", remove.id(), "'"));
  }
  Pool pool = *known;
  pool.mutable_servers()->DeleteSubrange(place, 1);
  return Change(std::move(pool));
}

void PoolTable::Clear() {
  pools_.clear();
  version_ = 0;
  bytes_ = 0;
}

void PoolTable::Save(log::Image* image) const {
  for (const auto& [name, pool] : pools_) {
    *image->add_pools() = pool;
  }
  image->set_pools_version(version_);
}

absl::Status PoolTable::Restore(const log::Image& image) {
  Clear();
  for (const Pool& pool : image.pools()) {
    if (!Validate(pool).ok() || pool.version() > image.pools_version() ||
        !pools_.emplace(pool.name(), pool).second) {
      Clear();
      return absl::DataLossError(absl::StrCat("shardctl image: pool '", pool.name(), "' is wrong"));
    }
    bytes_ += pool.ByteSizeLong();
  }
  version_ = image.pools_version();
  return absl::OkStatus();
}

}  // namespace ballast::shardctl
