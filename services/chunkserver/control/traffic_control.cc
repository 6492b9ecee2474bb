// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/traffic_control.h"

#include <algorithm>
#include <utility>

#include "common/types/limits.h"
#include "services/chunkserver/control/gate_chain.h"

namespace ballast::chunkserver {
namespace {

constexpr uint64_t kMegabyte = 1'000'000;
constexpr uint32_t kWholePpm = 1'000'000;

uint64_t ShareOf(uint64_t total_bytes_per_second, uint32_t share_ppm) {
  if (total_bytes_per_second == 0) {
    return 0;
  }
  const uint64_t share = share_ppm == 0 ? kWholePpm : std::min(share_ppm, kWholePpm);
  // kMbpsMax keeps the product far below 2^64. A share is never rounded down to "no limit".
  return std::max<uint64_t>(total_bytes_per_second * share / kWholePpm, 1);
}

}  // namespace

TrafficControl::TrafficControl(Executor& executor, Clock& clock)
    : executor_(executor), clock_(clock) {
  for (ClassGates& gates : gates_) {
    gates.receive = BandwidthGate::Make(executor, clock, 0);
    gates.send = BandwidthGate::Make(executor, clock, 0);
  }
  v1::Settings defaults;
  defaults.set_repair_server_mbps(kRepairServerMbpsDefault);
  defaults.set_rebalance_server_mbps(kRebalanceServerMbpsDefault);
  SetLimits(defaults);
}

size_t TrafficControl::IndexOf(v1::TrafficClass traffic) {
  return traffic == v1::TRAFFIC_CLASS_REPAIR ? kRepair : kRebalance;
}

void TrafficControl::SetLimits(const v1::Settings& settings) {
  absl::MutexLock lock(&mu_);
  limits_[kRepair] = ClassLimits{.server = settings.repair_server_mbps() * kMegabyte,
                                 .total = settings.repair_total_mbps() * kMegabyte};
  limits_[kRebalance] = ClassLimits{.server = settings.rebalance_server_mbps() * kMegabyte,
                                    .total = settings.rebalance_total_mbps() * kMegabyte};
  for (size_t i = 0; i < kClasses; ++i) {
    gates_[i].receive->SetRate(limits_[i].server);
    gates_[i].send->SetRate(limits_[i].server);
  }
  DropEndedLocked();
  for (const CopyGate& copy : copies_) {
    if (const auto gate = copy.gate.lock()) {
      gate->SetRate(ShareOf(limits_[copy.traffic].total, copy.share_ppm));
    }
  }
}

std::shared_ptr<TrafficGate> TrafficControl::SendGate(v1::TrafficClass traffic) const {
  if (traffic == v1::TRAFFIC_CLASS_UNSPECIFIED) {
    return nullptr;
  }
  return gates_[IndexOf(traffic)].send;
}

std::shared_ptr<TrafficGate> TrafficControl::GateForCopy(v1::TrafficClass traffic,
                                                         uint32_t total_share_ppm) {
  if (traffic == v1::TRAFFIC_CLASS_UNSPECIFIED) {
    return nullptr;
  }
  const size_t index = IndexOf(traffic);
  absl::MutexLock lock(&mu_);
  DropEndedLocked();
  auto own = BandwidthGate::Make(executor_, clock_, ShareOf(limits_[index].total, total_share_ppm));
  copies_.push_back(CopyGate{.traffic = index, .share_ppm = total_share_ppm, .gate = own});
  return GateChain::Make({std::move(own), gates_[index].receive});
}

void TrafficControl::DropEndedLocked() {
  copies_.erase(std::remove_if(copies_.begin(), copies_.end(),
                               [](const CopyGate& copy) { return copy.gate.expired(); }),
                copies_.end());
}

}  // namespace ballast::chunkserver
