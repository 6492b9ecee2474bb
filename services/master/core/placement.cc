// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/placement.h"

#include <algorithm>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/strings/str_cat.h"
#include "common/base/byte_units.h"
#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast::master {
namespace {

// Draws that may hit a server which cannot be used before all are looked at.
constexpr int kQuickDraws = 16;
// Weights are in MiB and bounded, so that their sum fits whatever servers claim.
constexpr uint64_t kWeightMax = uint64_t{1} << 40;

struct Server {
  ServerIndex index;
  size_t zone = 0;
  uint64_t free_bytes = 0;
  uint64_t weight = 0;
  uint64_t weight_before = 0;  // sum of the weights of those before it
};

class Chooser {
 public:
  Chooser(absl::Span<const PlacementCandidate> candidates, uint64_t chunk_bytes, bool use_avoided,
          Rng& rng)
      : chunk_bytes_(chunk_bytes), rng_(rng) {
    absl::btree_map<std::string, size_t> zones;
    for (const PlacementCandidate& c : candidates) {
      if (c.free_bytes < chunk_bytes || (c.avoid && !use_avoided)) {
        continue;
      }
      const uint64_t weight = std::min(c.free_bytes >> 20, kWeightMax) + 1;
      const size_t zone = zones.try_emplace(c.zone, zones.size()).first->second;
      servers_.push_back({c.server, zone, c.free_bytes, weight, weight_sum_});
      weight_sum_ += weight;
    }
    zone_count_ = zones.size();
  }

  size_t size() const { return servers_.size(); }

  // A chain of up to `wanted` servers, whose room it takes.
  std::vector<ServerIndex> Choose(uint32_t wanted) {
    chosen_.clear();
    while (chosen_.size() < wanted) {
      std::optional<size_t> next = DrawQuickly();
      if (!next.has_value()) {
        next = DrawFromAll(/*new_zone=*/true);
      }
      if (!next.has_value()) {
        next = DrawFromAll(/*new_zone=*/false);
      }
      if (!next.has_value()) {
        break;
      }
      chosen_.push_back(*next);
    }
    std::vector<ServerIndex> chain;
    for (size_t i : chosen_) {
      servers_[i].free_bytes -= chunk_bytes_;
      chain.push_back(servers_[i].index);
    }
    return chain;
  }

 private:
  bool Usable(size_t i, bool new_zone) const {
    if (servers_[i].free_bytes < chunk_bytes_) {
      return false;
    }
    return std::none_of(chosen_.begin(), chosen_.end(), [&](size_t c) {
      return c == i || (new_zone && servers_[c].zone == servers_[i].zone);
    });
  }

  std::optional<size_t> DrawQuickly() {
    if (servers_.empty() || chosen_.size() >= zone_count_) {
      return std::nullopt;
    }
    for (int draw = 0; draw < kQuickDraws; ++draw) {
      const uint64_t at = rng_.Below(weight_sum_);
      const auto after = std::upper_bound(
          servers_.begin(), servers_.end(), at,
          [](uint64_t value, const Server& server) { return value < server.weight_before; });
      const size_t i = static_cast<size_t>(after - servers_.begin()) - 1;
      if (Usable(i, /*new_zone=*/true)) {
        return i;
      }
    }
    return std::nullopt;
  }

  std::optional<size_t> DrawFromAll(bool new_zone) {
    uint64_t sum = 0;
    for (size_t i = 0; i < servers_.size(); ++i) {
      sum += Usable(i, new_zone) ? servers_[i].weight : 0;
    }
    if (sum == 0) {
      return std::nullopt;
    }
    uint64_t at = rng_.Below(sum);
    for (size_t i = 0; i < servers_.size(); ++i) {
      if (!Usable(i, new_zone)) {
        continue;
      }
      if (at < servers_[i].weight) {
        return i;
      }
      at -= servers_[i].weight;
    }
    return std::nullopt;
  }

  const uint64_t chunk_bytes_;
  Rng& rng_;
  std::vector<Server> servers_;
  uint64_t weight_sum_ = 0;
  size_t zone_count_ = 0;
  std::vector<size_t> chosen_;  // of the chain being built
};

std::string CensusText(const ServerCensus& census) {
  return absl::StrCat(
      census.registered, " registered, ", census.alive, " alive, ", census.suspect, " suspect, ",
      census.dead, " dead",
      census.pending > 0 ? absl::StrCat(", ", census.pending, " not ready yet") : std::string(),
      census.no_placement > 0
          ? absl::StrCat(", ", census.no_placement, " registered without placement")
          : std::string());
}

absl::Status TooFewServers(size_t usable, const ServerCensus& census,
                           const ChunksToPlace& request) {
  const std::string facts =
      absl::StrCat("a chunk needs ", request.required_replicas, " chunk servers and ", usable,
                   " can take one now (", CensusText(census), ")");
  if (usable + census.pending >= request.required_replicas) {
    return NotReadyError(absl::StrCat(facts, "; waiting for their heartbeats"),
                         absl::Milliseconds(500));
  }
  std::string advice = "; start more chunk servers";
  if (usable > 0) {
    absl::StrAppend(&advice, ", or accept fewer copies: ballast settings --min-replicas ", usable,
                    " (now ", census.min_replicas, ")");
  }
  return MakeError(v1::REASON_TOO_FEW_SERVERS, facts + advice);
}

absl::Status NoSpace(size_t roomy, size_t usable, const ChunksToPlace& request) {
  return MakeError(
      v1::REASON_NO_SPACE,
      absl::StrCat("a chunk of ", FormatBytes(request.chunk_bytes), " needs room on ",
                   request.required_replicas, " chunk servers, and ", roomy, " of the ", usable,
                   " usable ones have it; delete objects or add chunk servers"));
}

}  // namespace

absl::StatusOr<Chains> PlaceChunks(absl::Span<const PlacementCandidate> candidates,
                                   const ServerCensus& census, const ChunksToPlace& request,
                                   Rng& rng) {
  CHECK_GE(request.required_replicas, 1u);
  CHECK_LE(request.required_replicas, request.wanted_replicas);
  if (candidates.size() < request.required_replicas) {
    return TooFewServers(candidates.size(), census, request);
  }
  for (const bool use_avoided : {false, true}) {
    Chooser chooser(candidates, request.chunk_bytes, use_avoided, rng);
    size_t roomy = chooser.size();
    Chains chains;
    while (roomy >= request.required_replicas && chains.size() < request.chunk_count) {
      chains.push_back(chooser.Choose(request.wanted_replicas));
      roomy = chains.back().size();
    }
    if (roomy >= request.required_replicas) {
      return chains;
    }
    if (use_avoided) {
      return NoSpace(roomy, candidates.size(), request);
    }
  }
  return absl::InternalError("unreachable");
}

}  // namespace ballast::master
