// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/told_usage.h"

#include <algorithm>
#include <cmath>

namespace ballast::gateway {
namespace {

// Below this a percentage says too little to divide by.
constexpr double kJudgedPctMin = 0.01;

}  // namespace

ToldUsage::Usage ToldUsage::OnTold(ServerIndex server, double pct,
                                   const AdoptedChunks::Tally& tally) {
  pct = std::isfinite(pct) ? std::clamp(pct, 0.0, 100.0) : 0;
  if (tally.listed > 0 && pct >= kJudgedPctMin) {
    const double bytes = static_cast<double>(tally.listed) * static_cast<double>(chunk_bytes_);
    capacities_[server] = static_cast<uint64_t>(bytes * 100 / pct);
  }
  const auto judged = capacities_.find(server);
  Usage usage;
  usage.capacity_bytes = judged != capacities_.end() ? judged->second : MeanCapacity();
  const double untold =
      (static_cast<double>(tally.received_untold) - static_cast<double>(tally.deleted_untold)) *
      static_cast<double>(chunk_bytes_);
  usage.utilization_pct =
      std::clamp(pct + untold * 100 / static_cast<double>(usage.capacity_bytes), 0.0, 100.0);
  return usage;
}

uint64_t ToldUsage::MeanCapacity() const {
  if (capacities_.empty()) {
    return default_capacity_bytes_;
  }
  double sum = 0;
  for (const auto& [server, capacity] : capacities_) {
    sum += static_cast<double>(capacity);
  }
  return std::max<uint64_t>(1,
                            static_cast<uint64_t>(sum / static_cast<double>(capacities_.size())));
}

}  // namespace ballast::gateway
