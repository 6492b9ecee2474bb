// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/balance_goal.h"

#include <algorithm>
#include <cmath>
#include <queue>
#include <utility>

namespace ballast::master {
namespace {

// A server that takes part. Bytes move in portions, so sheds and gains are counted in them.
struct Part {
  int position = 0;
  double capacity = 0;
  double used = 0;
  bool accepts = false;
  int64_t shed = 0;
  int64_t gain = 0;
};

int64_t Portions(double bytes, double portion) {
  // A hair above a whole number is rounding, not need.
  return bytes <= 0 ? 0 : static_cast<int64_t>(std::ceil(bytes / portion - 1e-6));
}

// The fraction of its capacity that is used when its sheds and gains so far are done, and `more`.
double After(const Part& part, double portion, int64_t more = 0) {
  return (part.used + static_cast<double>(part.gain - part.shed + more) * portion) / part.capacity;
}

using Ranked = std::pair<double, int>;  // how much it wants another portion, index

// Lets the fullest shed until `missing` portions have come together. None goes below the target
// for it, nor gives away what another portion would take out of the band.
void ShedMore(std::vector<Part>& parts, int64_t missing, double portion, double target, double lo) {
  std::priority_queue<Ranked> fullest;
  const auto offer = [&](int i) {
    const Part& part = parts[static_cast<size_t>(i)];
    if (part.gain == 0 && After(part, portion) > target && After(part, portion, -1) >= lo) {
      fullest.emplace(After(part, portion), -i);
    }
  };
  for (size_t i = 0; i < parts.size(); ++i) {
    offer(static_cast<int>(i));
  }
  for (; missing > 0 && !fullest.empty(); --missing) {
    const int i = -fullest.top().second;
    fullest.pop();
    ++parts[static_cast<size_t>(i)].shed;
    offer(i);
  }
}

// Likewise, lets the emptiest gain.
void GainMore(std::vector<Part>& parts, int64_t missing, double portion, double target, double hi) {
  std::priority_queue<Ranked> emptiest;
  const auto offer = [&](int i) {
    const Part& part = parts[static_cast<size_t>(i)];
    if (part.accepts && part.shed == 0 && After(part, portion) < target &&
        After(part, portion, 1) <= hi) {
      emptiest.emplace(-After(part, portion), -i);
    }
  };
  for (size_t i = 0; i < parts.size(); ++i) {
    offer(static_cast<int>(i));
  }
  for (; missing > 0 && !emptiest.empty(); --missing) {
    const int i = -emptiest.top().second;
    emptiest.pop();
    ++parts[static_cast<size_t>(i)].gain;
    offer(i);
  }
}

}  // namespace

BalanceGoal PlanBalanceGoal(const ClusterView& view, const BalanceLimits& limits) {
  BalanceGoal goal;
  std::vector<Part> parts;
  double used = 0;
  double capacity = 0;
  double pct = 0;
  for (size_t i = 0; i < view.size(); ++i) {
    const ServerView& server = view.at(i);
    if (!server.live || !server.managed || server.draining || server.capacity_bytes == 0) {
      continue;
    }
    parts.push_back({static_cast<int>(i), static_cast<double>(server.capacity_bytes),
                     static_cast<double>(server.used_bytes), server.accepts});
    used += parts.back().used;
    capacity += parts.back().capacity;
    pct += server.utilization_pct;
  }
  if (parts.empty()) {
    return goal;
  }
  goal.mean_pct = pct / static_cast<double>(parts.size());
  const double target = used / capacity;
  goal.target_pct = target * 100;
  const double hi = target + limits.settle_points / 100;
  const double lo = target - limits.settle_points / 100;
  const auto portion = static_cast<double>(std::max<uint64_t>(limits.chunk_bytes, 1));
  int64_t unmatched = 0;  // gains without a shed
  for (Part& part : parts) {
    const double own = view.at(static_cast<size_t>(part.position)).utilization_pct;
    goal.triggered |= std::abs(own - goal.mean_pct) > limits.threshold_points;
    part.shed = Portions(part.used - hi * part.capacity, portion);
    part.gain = part.accepts ? Portions(lo * part.capacity - part.used, portion) : 0;
    unmatched += part.gain - part.shed;
  }
  if (unmatched > 0) {
    ShedMore(parts, unmatched, portion, target, lo);
  } else {
    GainMore(parts, -unmatched, portion, target, hi);
  }
  for (const Part& part : parts) {
    if (part.shed == 0 && part.gain == 0) {
      continue;
    }
    ServerGoal& server = goal.servers.emplace_back();
    server.position = part.position;
    server.server = view.at(static_cast<size_t>(part.position)).server;
    server.shed_bytes = static_cast<uint64_t>(part.shed) * limits.chunk_bytes;
    server.gain_bytes = static_cast<uint64_t>(part.gain) * limits.chunk_bytes;
    goal.shed_bytes += server.shed_bytes;
    goal.gain_bytes += server.gain_bytes;
  }
  return goal;
}

}  // namespace ballast::master
