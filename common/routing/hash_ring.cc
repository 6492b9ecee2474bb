// SPDX-License-Identifier: Apache-2.0
#include "common/routing/hash_ring.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"

namespace ballast {
namespace {

constexpr double kCircle = 18446744073709551616.0;  // 2^64

bool ById(const HashRing::Server& a, const HashRing::Server& b) { return a.id < b.id; }

}  // namespace

absl::Status HashRing::Check(const std::vector<Server>& servers) {
  if (servers.size() > kServersMax) {
    return InvalidArgument(absl::StrCat("a ring has at most ", kServersMax, " servers"));
  }
  uint64_t points = 0;
  const Server* before = nullptr;
  for (const Server& server : servers) {
    if (server.id.empty() || server.id.size() > kServerIdMax) {
      return InvalidArgument(absl::StrCat("a server's id has 1 to ", kServerIdMax, " bytes"));
    }
    if (before != nullptr && before->id == server.id) {
      return InvalidArgument(absl::StrCat("the server '", server.id, "' is there twice"));
    }
    if (server.points > kServerPointsMax) {
      return InvalidArgument(absl::StrCat("a server has at most ", kServerPointsMax, " points"));
    }
    points += server.points;
    before = &server;
  }
  if (points > kPointsMax) {
    return InvalidArgument(absl::StrCat("a ring has at most ", kPointsMax, " points"));
  }
  return absl::OkStatus();
}

std::vector<HashRing::Point> HashRing::PointsOf(const Server& server, uint32_t index) {
  std::vector<Point> points(server.points);
  std::string bytes = server.id + std::string(4, '\0');
  char* const number = bytes.data() + server.id.size();
  for (uint32_t i = 0; i < server.points; ++i) {
    for (int byte = 0; byte < 4; ++byte) {
      number[byte] = static_cast<char>(i >> (8 * byte));
    }
    points[i] = {StableHash(bytes), static_cast<uint16_t>(index)};
  }
  // Two points of one server at one place are as good as one.
  std::sort(points.begin(), points.end(),
            [](const Point& a, const Point& b) { return a.position < b.position; });
  return points;
}

// Servers are numbered in the order of their ids, so ties by number are ties by id.
absl::StatusOr<HashRing> HashRing::Make(std::vector<Server> servers) {
  std::sort(servers.begin(), servers.end(), ById);
  if (absl::Status status = Check(servers); !status.ok()) {
    return status;
  }
  HashRing ring;
  ring.servers_ = std::move(servers);
  size_t count = 0;
  for (const Server& server : ring.servers_) {
    count += server.points;
  }
  ring.points_.reserve(count + kPadding);
  for (uint32_t i = 0; i < ring.servers_.size(); ++i) {
    const std::vector<Point> points = PointsOf(ring.servers_[i], i);
    ring.points_.insert(ring.points_.end(), points.begin(), points.end());
  }
  std::sort(ring.points_.begin(), ring.points_.end(), [](const Point& a, const Point& b) {
    return a.position != b.position ? a.position < b.position : a.server < b.server;
  });
  ring.Finish();
  return ring;
}

absl::StatusOr<HashRing> HashRing::With(Server server) const {
  HashRing ring;
  ring.servers_.reserve(servers_.size() + 1);
  ring.servers_ = servers_;
  const auto place = std::lower_bound(ring.servers_.begin(), ring.servers_.end(), server, ById);
  const auto index = static_cast<uint32_t>(place - ring.servers_.begin());
  const bool is_new = place == ring.servers_.end() || place->id != server.id;
  if (is_new) {
    ring.servers_.insert(place, server);
  } else {
    *place = server;
  }
  if (absl::Status status = Check(ring.servers_); !status.ok()) {
    return status;
  }
  const std::vector<Point> added = PointsOf(server, index);
  const uint32_t before = is_new ? 0 : servers_[index].points;
  ring.points_.reserve(point_count() - before + added.size() + kPadding);
  auto next = added.begin();
  for (Point point : points()) {
    if (is_new) {
      point.server += point.server >= index ? 1 : 0;
    } else if (point.server == index) {
      continue;
    }
    while (next != added.end() && (next->position < point.position ||
                                   (next->position == point.position && index < point.server))) {
      ring.points_.push_back(*next++);
    }
    ring.points_.push_back(point);
  }
  ring.points_.insert(ring.points_.end(), next, added.end());
  ring.Finish();
  return ring;
}

absl::StatusOr<HashRing> HashRing::Without(absl::string_view id) const {
  const uint32_t index = IndexOf(id);
  if (index == kNoServer) {
    return absl::NotFoundError(absl::StrCat("there is no server '", id, "' on the ring"));
  }
  HashRing ring;
  ring.servers_ = servers_;
  ring.servers_.erase(ring.servers_.begin() + index);
  ring.points_.reserve(point_count() - servers_[index].points + kPadding);
  for (Point point : points()) {
    if (point.server != index) {
      point.server -= point.server > index ? 1 : 0;
      ring.points_.push_back(point);
    }
  }
  ring.Finish();
  return ring;
}

// One slot a point or fewer: 2 to 4 bytes of index a point, and one or two points a slot.
void HashRing::Finish() {
  if (points_.empty()) {
    return;
  }
  const auto count = static_cast<uint32_t>(points_.size());
  const int bits = std::max(1, static_cast<int>(std::bit_width(points_.size())) - 1);
  shift_ = 64 - bits;
  index_.resize((size_t{1} << bits) + 1);
  size_t slot = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const auto last = static_cast<size_t>(points_[i].position >> shift_);
    while (slot <= last) {
      index_[slot++] = i;
    }
  }
  std::fill(index_.begin() + static_cast<std::ptrdiff_t>(slot), index_.end(), count);
  points_.insert(points_.end(), kPadding, {~uint64_t{0}, points_.front().server});
}

size_t HashRing::SearchIn(size_t begin, size_t end, uint64_t hash) const {
  const auto at = [this](size_t i) { return points_.begin() + static_cast<std::ptrdiff_t>(i); };
  const auto it =
      std::lower_bound(at(begin), at(end), hash,
                       [](const Point& point, uint64_t value) { return point.position < value; });
  return static_cast<size_t>(it - points_.begin());
}

uint32_t HashRing::IndexOf(absl::string_view id) const {
  const auto it = std::lower_bound(
      servers_.begin(), servers_.end(), id,
      [](const Server& server, absl::string_view value) { return server.id < value; });
  return it == servers_.end() || it->id != id ? kNoServer
                                              : static_cast<uint32_t>(it - servers_.begin());
}

HashRing::Indexes HashRing::Successors(uint64_t hash, size_t count) const {
  Indexes found;
  if (count > 0) {
    FindWithRoom(hash, [&](uint32_t server) {
      found.push_back(server);
      return found.size() == count;
    });
  }
  return found;
}

uint32_t HashRing::FindWithRoom(uint64_t hash,
                                absl::FunctionRef<bool(uint32_t server)> has_room) const {
  const absl::Span<const Point> points = this->points();
  if (points.empty()) {
    return kNoServer;
  }
  // Few servers are asked as a rule: a list serves until it is long.
  constexpr size_t kListMax = 32;
  absl::InlinedVector<uint32_t, kListMax> asked;
  std::vector<bool> asked_of_all;
  size_t i = FirstAtOrAfter(hash);
  for (size_t left = points.size(); left > 0; --left, ++i) {
    if (i >= points.size()) {
      i = 0;
    }
    const uint32_t server = points[i].server;
    if (asked_of_all.empty()) {
      if (std::find(asked.begin(), asked.end(), server) != asked.end()) {
        continue;
      }
      if (asked.size() < kListMax) {
        asked.push_back(server);
      } else {
        asked_of_all.resize(servers_.size());
        for (const uint32_t one : asked) {
          asked_of_all[one] = true;
        }
        asked_of_all[server] = true;
      }
    } else {
      if (asked_of_all[server]) {
        continue;
      }
      asked_of_all[server] = true;
    }
    if (has_room(server)) {
      return server;
    }
  }
  return kNoServer;
}

std::vector<double> HashRing::Shares() const {
  const absl::Span<const Point> points = this->points();
  std::vector<double> shares(servers_.size());
  if (!points.empty() && points.front().position == points.back().position) {
    shares[points.front().server] = 1;  // one place owns the whole circle
    return shares;
  }
  for (size_t i = 0; i < points.size(); ++i) {
    // Unsigned arithmetic goes round the circle.
    const uint64_t before = points[i == 0 ? points.size() - 1 : i - 1].position;
    const uint64_t arc = points[i].position - before;
    shares[points[i].server] += static_cast<double>(arc) / kCircle;
  }
  return shares;
}

size_t HashRing::memory_bytes() const {
  size_t bytes = points_.capacity() * sizeof(Point) + index_.capacity() * sizeof(uint32_t);
  for (const Server& server : servers_) {
    bytes += sizeof(Server) + server.id.capacity();
  }
  return bytes;
}

uint32_t RingPoints(double weight, uint32_t points_per_weight) {
  CHECK(std::isfinite(weight) && weight >= 0);
  const double points = std::floor(weight * points_per_weight + 0.5);
  if (weight == 0) {
    return 0;
  }
  return static_cast<uint32_t>(
      std::clamp(points, 1.0, static_cast<double>(HashRing::kServerPointsMax)));
}

uint64_t LoadBound(uint64_t total, double part, double factor) {
  CHECK_GE(factor, 1.0);
  return static_cast<uint64_t>(std::ceil(factor * part * static_cast<double>(total)));
}

}  // namespace ballast
