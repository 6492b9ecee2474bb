// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/check.h"

namespace ballast {

// Consistent hashing (Karger et al., STOC 1997): servers own points on a circle of 2^64 positions,
// a key belongs to the server whose point is the first at or after the key's hash, clockwise.
//
// docs/protocols/hash_ring.md is the specification, with test vectors for other languages. In
// short: point i of a server lies at XXH64(id, then i as 4 bytes little-endian; seed 0); points
// that coincide are ordered by id; a key's hash is XXH64(key, seed 0) (StableHash).
//
// Guarantees
//   * The ring is a function of the set of (id, points): the order of changes leaves no trace.
//   * What one server's coming, going or change of points moves, moves from or to that server: keys
//     never move between two servers that did not change. A server has the points it was given,
//     however many others there are.
//   * A look-up costs O(1) expected for hashed ids, O(log points) at worst, and allocates nothing.
//
// A value that never changes: With and Without make a new ring in O(points). 12 to 14 bytes a
// point. Concurrency: any number of readers. SharedRing exchanges rings under readers.
class HashRing {
 public:
  struct Server {
    std::string id;       // 1..kServerIdMax bytes
    uint32_t points = 0;  // 0: known, and gets nothing
    friend bool operator==(const Server&, const Server&) = default;
  };
  static constexpr size_t kServerIdMax = 1024;
  static constexpr size_t kServersMax = 65535;
  static constexpr uint32_t kServerPointsMax = 1u << 20;
  static constexpr uint64_t kPointsMax = 1u << 25;
  static constexpr uint32_t kNoServer = 0xFFFFFFFF;

  HashRing() = default;  // no servers

  // INVALID_ARGUMENT: an id is empty, too long or there twice, or there is too much of anything.
  static absl::StatusOr<HashRing> Make(std::vector<Server> servers);
  // With this server, whether new or with other points than now. Errors as for Make.
  absl::StatusOr<HashRing> With(Server server) const;
  // NOT_FOUND: there is no such server.
  absl::StatusOr<HashRing> Without(absl::string_view id) const;

  // By id, bytewise. Look-ups return indexes into it.
  const std::vector<Server>& servers() const { return servers_; }
  // kNoServer if it is not there.
  uint32_t IndexOf(absl::string_view id) const;
  size_t point_count() const { return points_.empty() ? 0 : points_.size() - kPadding; }

  // The server of a key with this hash; kNoServer if no server has points.
  uint32_t Find(uint64_t hash) const {
    return points_.empty() ? kNoServer : points_[FirstAtOrAfter(hash)].server;  // padding wraps
  }

  // Different servers in the order in which a key's requests try them, at most `count`: the owner
  // first, then as their points come clockwise.
  using Indexes = absl::InlinedVector<uint32_t, 8>;
  Indexes Successors(uint64_t hash, size_t count) const;

  // The first server in that order that has room; kNoServer if none has. With a room of at most
  // LoadBound for each this is consistent hashing with bounded loads (Mirrokni, Thorup,
  // Zadimoghaddam, SODA 2018). O(points) at worst.
  uint32_t FindWithRoom(uint64_t hash, absl::FunctionRef<bool(uint32_t server)> has_room) const;

  // The part of the circle that each server owns, exactly to a double's precision; sums to 1.
  std::vector<double> Shares() const;

  size_t memory_bytes() const;

 private:
  // 10 bytes: the points and the index of 64 servers of 1024 points fit a core's second cache.
  struct __attribute__((packed, aligned(2))) Point {
    uint64_t position;
    uint16_t server;
  };
  static_assert(sizeof(Point) == 10);
  static_assert(kServersMax <= 65536);  // numbers from 0 fit Point::server

  // So many points are compared at once, without a branch that could be guessed wrong; a slot of
  // the index seldom has more.
  static constexpr size_t kPadding = 4;

  // Requires: points. The number of the point that owns the hash; point_count(), which is the first
  // one again, for hashes behind the last.
  size_t FirstAtOrAfter(uint64_t hash) const {
    const size_t slot = static_cast<size_t>(hash >> shift_);
    const size_t first = index_[slot];
    const Point* const point = &points_[first];
    size_t before = 0;
    for (size_t i = 0; i < kPadding; ++i) {
      before += point[i].position < hash ? 1 : 0;
    }
    if (before == kPadding) {
      // They are all of this slot, which may have more.
      return SearchIn(first + kPadding, index_[slot + 1], hash);
    }
    return first + before;
  }
  size_t SearchIn(size_t begin, size_t end, uint64_t hash) const;
  static absl::Status Check(const std::vector<Server>& servers);
  static std::vector<Point> PointsOf(const Server& server, uint32_t index);
  absl::Span<const Point> points() const { return {points_.data(), point_count()}; }
  // Points are in place, without padding: adds that and the index.
  void Finish();

  std::vector<Server> servers_;
  // By (position, id), then kPadding entries that lie behind everything and have the first point's
  // server; empty without points.
  std::vector<Point> points_;
  // index_[s]: the first point at or after s << shift_; the last entry is point_count().
  std::vector<uint32_t> index_;
  int shift_ = 63;
};

// Points of a server of this weight: `points_per_weight` * weight, rounded, and at least one unless
// the weight is 0. Requires: weight >= 0, finite. Cut at HashRing::kServerPointsMax.
uint32_t RingPoints(double weight, uint32_t points_per_weight);

// How many requests a server may have at once, so that none has more than `factor` (>= 1) times its
// part of `total`, the one to be placed included. The bounds of all servers sum up to at least
// `total`: somebody always has room.
uint64_t LoadBound(uint64_t total, double part, double factor);

}  // namespace ballast
