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

// A server that may give portions, as stairs that lead down from `top`, a step a portion. Taking
// portions is the same with all signs turned.
struct Stairs {
  Part* part;
  double top = 0;
  double height = 0;  // of a step
  int64_t steps = 0;  // taken

  double At(int64_t step) const { return top - static_cast<double>(step) * height; }
  // Whether the next step after so many begins above `level` and does not end below `bottom`.
  bool MayGo(int64_t step, double level, double bottom) const {
    return At(step) > level && At(step + 1) >= bottom;
  }
  int64_t StepsAbove(double level, double bottom) const {
    const double guess = std::min((top - level) / height, (top - bottom) / height);
    int64_t count = std::max<int64_t>(static_cast<int64_t>(guess), 0);
    while (count > 0 && !MayGo(count - 1, level, bottom)) {
      --count;
    }
    while (MayGo(count, level, bottom)) {
      ++count;
    }
    return count;
  }
};

// Takes `wanted` steps, or as many as there are above `last`, each from where one stands highest
// then. The level above which all steps are needed is found by halving, so that the cost does not
// grow with the number of steps; the few that lie just there are taken one by one.
void TakeHighestSteps(std::vector<Stairs>& all, int64_t wanted, double last, double bottom) {
  constexpr int kHalvings = 20;  // leaves about a step each
  const auto count_above = [&](double level) {
    int64_t count = 0;
    for (const Stairs& stairs : all) {
      count += stairs.StepsAbove(level, bottom);
    }
    return count;
  };
  double low = last;
  double high = last;
  for (const Stairs& stairs : all) {
    high = std::max(high, stairs.top);
  }
  if (count_above(low) <= wanted) {
    high = low;
  }
  for (int i = 0; i < kHalvings && high > low; ++i) {
    const double middle = (low + high) / 2;
    (count_above(middle) <= wanted ? high : low) = middle;
  }
  using Ranked = std::pair<double, int>;  // where it stands, index; the first of equals first
  std::priority_queue<Ranked> highest;
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].steps = all[i].StepsAbove(high, bottom);
    wanted -= all[i].steps;
    if (all[i].MayGo(all[i].steps, last, bottom)) {
      highest.emplace(all[i].At(all[i].steps), -static_cast<int>(i));
    }
  }
  for (; wanted > 0 && !highest.empty(); --wanted) {
    Stairs& stairs = all[static_cast<size_t>(-highest.top().second)];
    const int index = highest.top().second;
    highest.pop();
    ++stairs.steps;
    if (stairs.MayGo(stairs.steps, last, bottom)) {
      highest.emplace(stairs.At(stairs.steps), index);
    }
  }
}

// The fraction of its capacity that is used when it has shed and gained what it must.
double FillAfter(const Part& part, double portion) {
  return (part.used + static_cast<double>(part.gain - part.shed) * portion) / part.capacity;
}

// Lets the fullest shed until `missing` portions have come together. None goes below the target
// for it, nor gives away what another portion would take out of the band.
void ShedMore(std::vector<Part>& parts, int64_t missing, double portion, double target, double lo) {
  std::vector<Stairs> all;
  for (Part& part : parts) {
    if (part.gain == 0) {
      all.push_back({&part, FillAfter(part, portion), portion / part.capacity});
    }
  }
  TakeHighestSteps(all, missing, target, lo);
  for (const Stairs& stairs : all) {
    stairs.part->shed += stairs.steps;
  }
}

// Likewise, lets the emptiest gain.
void GainMore(std::vector<Part>& parts, int64_t missing, double portion, double target, double hi) {
  std::vector<Stairs> all;
  for (Part& part : parts) {
    if (part.accepts && part.shed == 0) {
      all.push_back({&part, -FillAfter(part, portion), portion / part.capacity});
    }
  }
  TakeHighestSteps(all, missing, -target, -hi);
  for (const Stairs& stairs : all) {
    stairs.part->gain += stairs.steps;
  }
}

}  // namespace

BalanceGoal PlanBalanceGoal(const ClusterView& view, const BalanceLimits& limits) {
  BalanceGoal goal;
  goal.chunk_bytes = std::max<uint64_t>(limits.chunk_bytes, 1);
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

BalanceGoal OwnPart(const BalanceGoal& goal, const ClusterView& view,
                    const std::vector<uint64_t>& own_bytes) {
  const auto round = [&](double bytes) {
    const auto portion = static_cast<double>(goal.chunk_bytes);
    return static_cast<uint64_t>(std::llround(bytes / portion)) * goal.chunk_bytes;
  };
  BalanceGoal own = goal;
  own.servers.clear();
  own.shed_bytes = own.gain_bytes = 0;
  double shed = 0;
  const auto part_at = [&](const ServerGoal& server) {
    const auto position = static_cast<size_t>(server.position);
    const auto used = static_cast<double>(view.at(position).used_bytes);
    return used == 0 ? 0 : std::min(1.0, static_cast<double>(own_bytes[position]) / used);
  };
  for (const ServerGoal& server : goal.servers) {
    shed += static_cast<double>(server.shed_bytes) * part_at(server);
  }
  const double part = goal.shed_bytes == 0 ? 0 : shed / static_cast<double>(goal.shed_bytes);
  for (ServerGoal server : goal.servers) {
    server.shed_bytes = round(static_cast<double>(server.shed_bytes) * part_at(server));
    server.gain_bytes = round(static_cast<double>(server.gain_bytes) * part);
    own.shed_bytes += server.shed_bytes;
    own.gain_bytes += server.gain_bytes;
    own.servers.push_back(server);
  }
  return own;
}

}  // namespace ballast::master
