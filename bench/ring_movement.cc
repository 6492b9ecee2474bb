// SPDX-License-Identifier: Apache-2.0
#include "bench/ring_movement.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/routing/hash_ring.h"
#include "common/routing/shard_router.h"

namespace ballast::bench {
namespace {

constexpr uint32_t kPointsPerWeight = 1024;
constexpr uint32_t kStep = kPointsPerWeight / 4;  // weights are multiples of a quarter
constexpr size_t kServersMin = 8;
constexpr size_t kServersMax = 64;

// What a change of one server from `before` to `after` points, out of n in all with the more of
// both, has to move, and how much that varies by chance. The v points that come (or go) lie
// anywhere among the others; what lies behind one of them and belongs to the changed server anyway,
// by one of its m other points, does not move. Their arcs are those of n random points.
struct Expected {
  double optimum = 0;
  double variance = 0;
};
Expected Expect(double before, double after, double n, double keys) {
  const double v = std::abs(after - before);
  const double m = std::min(before, after);
  const double others = n - v - m;
  const double arcs = v * others / (others + m);  // that move, on average
  const double rest = n - v;
  // Points spread over gaps at random: the number in the gaps of the others is beta-binomial.
  const double arcs_variance = v * others * m * n / (rest * rest * (rest + 1));
  Expected expected;
  expected.optimum = arcs / n;
  expected.variance = (arcs * n - arcs * arcs - arcs_variance) / (n * n * (n + 1)) +
                      arcs_variance / (n * n) +
                      expected.optimum * (1 - expected.optimum) / keys;  // keys are a sample
  return expected;
}

// Servers of the random changes are numbered; every one that joins is new.
class ChangingRing {
 public:
  ChangingRing() {
    std::vector<HashRing::Server> servers;
    for (; next_ < 32; ++next_) {
      servers.push_back({Name(next_), kPointsPerWeight});
    }
    auto ring = HashRing::Make(std::move(servers));
    CHECK(ring.ok());
    ring_ = *std::move(ring);
  }

  struct Change {
    uint32_t number = 0;  // of the server
    uint32_t before = 0;  // points
    uint32_t after = 0;
    uint64_t points = 0;  // of the ring, with the more of both
  };
  Change Next(Rng& rng) {
    Change change;
    const uint64_t what = rng.Below(3);
    const size_t count = ring_.servers().size();
    auto points = static_cast<uint32_t>(kStep * rng.Between(1, 8));
    change.points = ring_.point_count();
    absl::StatusOr<HashRing> changed;
    if ((what == 0 && count < kServersMax) || (what == 1 && count <= kServersMin)) {
      change.number = next_++;
      change.after = points;
      changed = ring_.With({Name(change.number), points});
    } else {
      const HashRing::Server server = ring_.servers()[rng.Below(count)];
      change.number = Number(server.id);
      change.before = server.points;
      if (what == 2 && points == server.points) {
        points += kStep;
      }
      change.after = what < 2 ? 0 : points;
      changed = what < 2 ? ring_.Without(server.id) : ring_.With({server.id, points});
    }
    CHECK(changed.ok()) << changed.status();
    ring_ = *std::move(changed);
    change.points = std::max<uint64_t>(change.points, ring_.point_count());
    return change;
  }

  // The number of every key's server.
  void Owners(const std::vector<uint64_t>& hashes, std::vector<uint32_t>* owners) const {
    std::vector<uint32_t> numbers;
    for (const HashRing::Server& server : ring_.servers()) {
      numbers.push_back(Number(server.id));
    }
    for (size_t i = 0; i < hashes.size(); ++i) {
      (*owners)[i] = numbers[ring_.Find(hashes[i])];
    }
  }
  uint32_t server_count() const { return static_cast<uint32_t>(ring_.servers().size()); }

 private:
  static std::string Name(uint32_t number) { return absl::StrCat("server-", number); }
  static uint32_t Number(absl::string_view id) {
    uint32_t number = 0;
    CHECK(absl::SimpleAtoi(absl::StripPrefix(id, "server-"), &number));
    return number;
  }

  HashRing ring_;
  uint32_t next_ = 0;
};

std::vector<std::string> Keys(uint64_t count) {
  std::vector<std::string> keys;
  keys.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    keys.push_back(absl::StrCat("object/", i));
  }
  return keys;
}

// --- one change, several rings -------------------------------------------------------------------

// Servers 0..n-1 of these weights, as one kind of ring.
using Owners = std::function<std::vector<uint32_t>(const std::vector<uint32_t>& weights)>;

std::string Address(size_t i) { return absl::StrCat("10.0.", i / 250, ".", i % 250 + 1); }

Owners OurOwners(const std::vector<std::string>& keys, uint32_t points) {
  return [&keys, points](const std::vector<uint32_t>& weights) {
    std::vector<HashRing::Server> servers;
    for (size_t i = 0; i < weights.size(); ++i) {
      servers.push_back({Address(i), RingPoints(weights[i], points)});
    }
    const auto ring = HashRing::Make(servers);
    CHECK(ring.ok());
    std::vector<uint32_t> number_of(weights.size());
    for (uint32_t i = 0; i < servers.size(); ++i) {
      number_of[ring->IndexOf(servers[i].id)] = i;
    }
    std::vector<uint32_t> owners;
    owners.reserve(keys.size());
    for (const std::string& key : keys) {
      owners.push_back(number_of[ring->Find(StableHash(key))]);
    }
    return owners;
  };
}

Owners KetamaOwners(const std::vector<std::string>& keys, Ketama::Kind kind) {
  return [&keys, kind](const std::vector<uint32_t>& weights) {
    std::vector<Ketama::Server> servers;
    for (size_t i = 0; i < weights.size(); ++i) {
      servers.push_back({Address(i), weights[i]});
    }
    const Ketama ketama(kind, servers);
    std::vector<uint32_t> owners;
    owners.reserve(keys.size());
    for (const std::string& key : keys) {
      owners.push_back(ketama.Find(key));
    }
    return owners;
  };
}

double Part(const std::vector<uint32_t>& weights, size_t i) {
  double sum = 0;
  for (const uint32_t weight : weights) {
    sum += weight;
  }
  return i < weights.size() ? weights[i] / sum : 0;
}

// The server `changed` is the only one that differs between both.
Transition Compare(const Owners& owners, const std::vector<uint32_t>& before,
                   const std::vector<uint32_t>& after, uint32_t changed) {
  const std::vector<uint32_t> from = owners(before);
  const std::vector<uint32_t> to = owners(after);
  uint64_t moved = 0;
  uint64_t collateral = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    const bool moves = from[i] != to[i];
    moved += moves ? 1 : 0;
    collateral += moves && from[i] != changed && to[i] != changed ? 1 : 0;
  }
  Transition out;
  const auto keys = static_cast<double>(from.size());
  out.moved = static_cast<double>(moved) / keys;
  out.collateral = static_cast<double>(collateral) / keys;
  out.optimum = std::abs(Part(after, changed) - Part(before, changed));
  return out;
}

}  // namespace

double Deviation::aggregate() const { return variance > 0 ? excess / std::sqrt(variance) : 0; }

void Deviation::Add(double moved, double optimum, double change_variance) {
  ++changes;
  worst = std::max(worst, std::abs(moved - optimum) / std::sqrt(change_variance));
  excess += moved - optimum;
  variance += change_variance;
}

ChangesResult RunRandomChanges(uint64_t changes, uint64_t keys, uint64_t seed) {
  const auto begin = std::chrono::steady_clock::now();
  Rng rng(seed);
  std::vector<uint64_t> hashes;
  for (const std::string& key : Keys(keys)) {
    hashes.push_back(StableHash(key));
  }
  std::sort(hashes.begin(), hashes.end());  // so that looking all up walks the ring once
  ChangingRing ring;
  std::vector<uint32_t> before(keys);
  std::vector<uint32_t> after(keys);
  ring.Owners(hashes, &before);
  ChangesResult result;
  result.keys = keys;
  result.servers_min = result.servers_max = ring.server_count();
  for (uint64_t i = 0; i < changes; ++i) {
    const ChangingRing::Change change = ring.Next(rng);
    ring.Owners(hashes, &after);
    uint64_t moved = 0;
    uint64_t collateral = 0;
    for (size_t k = 0; k < keys; ++k) {
      const bool moves = before[k] != after[k];
      moved += moves ? 1 : 0;
      collateral += (moves && before[k] != change.number && after[k] != change.number) ? 1 : 0;
    }
    const Expected expected = Expect(change.before, change.after,
                                     static_cast<double>(change.points), static_cast<double>(keys));
    const double part = static_cast<double>(moved) / static_cast<double>(keys);
    Deviation& kind = change.before == 0  ? result.joins
                      : change.after == 0 ? result.leaves
                                          : result.weights;
    kind.Add(part, expected.optimum, expected.variance);
    result.all.Add(part, expected.optimum, expected.variance);
    result.moved_keys += moved;
    result.collateral_keys += collateral;
    result.optimum_keys += expected.optimum * static_cast<double>(keys);
    result.servers_min = std::min(result.servers_min, ring.server_count());
    result.servers_max = std::max(result.servers_max, ring.server_count());
    before.swap(after);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

std::vector<Transition> RunTransitions(uint64_t key_count, uint32_t points) {
  const std::vector<std::string> keys = Keys(key_count);
  std::vector<std::pair<std::string, Owners>> rings = {
      {absl::StrCat("Ballast, ", points, " points"), OurOwners(keys, points)}};
  if (Ketama::Available()) {
    rings.emplace_back("ketama weighted", KetamaOwners(keys, Ketama::Kind::kWeighted));
    rings.emplace_back("ketama unweighted", KetamaOwners(keys, Ketama::Kind::kConsistent));
  }
  std::vector<Transition> out;
  const auto compare = [&](const std::string& change, const std::vector<uint32_t>& before,
                           const std::vector<uint32_t>& after, uint32_t changed) {
    const bool is_weighted = before.size() == after.size();
    for (const auto& [name, owners] : rings) {
      if (is_weighted && name == "ketama unweighted") {
        continue;
      }
      Transition transition = Compare(owners, before, after, changed);
      transition.ring = name;
      transition.change = change;
      out.push_back(transition);
    }
  };
  for (const uint32_t servers : {9u, 24u, 46u, 49u, 63u, 99u}) {
    compare(absl::StrCat(servers, " -> ", servers + 1, " servers"),
            std::vector<uint32_t>(servers, 1), std::vector<uint32_t>(servers + 1, 1), servers);
  }
  compare("25 -> 24 servers", std::vector<uint32_t>(25, 1), std::vector<uint32_t>(24, 1), 24);
  std::vector<uint32_t> doubled(24, 1);
  doubled[7] = 2;
  compare("one of 24: weight 1 -> 2", std::vector<uint32_t>(24, 1), doubled, 7);
  return out;
}

}  // namespace ballast::bench
