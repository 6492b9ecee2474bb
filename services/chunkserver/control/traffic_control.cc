// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/traffic_control.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/base/log.h"
#include "common/types/limits.h"
#include "services/chunkserver/control/gate_chain.h"

namespace ballast::chunkserver {
namespace {

constexpr uint64_t kMegabyte = 1'000'000;
constexpr uint32_t kWholePpm = 1'000'000;
// The highest rate of late is half forgotten after some 3 s.
constexpr double kRateDecay = 0.9;
// Slower background work, in all, is not felt: a scrub at its floor must not count, since it hardly
// ever ends, and what is normal without it would not be known.
constexpr double kFeltBytesPerSecond = 4e6;
// Cuts below this are told of, at most so often.
constexpr double kLoggedBelow = 0.5;
constexpr absl::Duration kLogInterval = absl::Minutes(1);
// What repair keeps of its limit, however slowly clients are served.
constexpr double kRepairFactorMin = 0.5;

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
  SetRatesLocked();
  DropEndedLocked();
  for (const CopyGate& copy : copies_) {
    if (const auto gate = copy.gate.lock()) {
      gate->SetRate(ShareOf(limits_[copy.traffic].total, copy.share_ppm));
    }
  }
}

void TrafficControl::SetRatesLocked() {
  const double factor = monitor_.factor();
  // Of the limit, not of what really moves: a repair that has just begun is not to crawl.
  const auto repair = static_cast<uint64_t>(static_cast<double>(limits_[kRepair].server) *
                                            std::max(factor, kRepairFactorMin));
  gates_[kRepair].receive->SetRate(repair);
  gates_[kRepair].send->SetRate(repair);
  const uint64_t limit = limits_[kRebalance].server;
  gates_[kRebalance].receive->SetRate(
      BackedOffRate(limit, static_cast<uint64_t>(received_.rate), factor));
  gates_[kRebalance].send->SetRate(BackedOffRate(limit, static_cast<uint64_t>(sent_.rate), factor));
}

void TrafficControl::StartBackOff(std::function<uint64_t()> other_bytes) {
  executor_.Post([this, other_bytes = std::move(other_bytes)]() mutable {
    other_bytes_ = std::move(other_bytes);
    decided_ = clock_.SteadyNow();
    executor_.RunAfter(ForegroundMonitor::kPeriod, [this] { Decide(); });
  });
}

void TrafficControl::OnServed(ForegroundMonitor::Kind kind, absl::Duration service) {
  absl::MutexLock lock(&mu_);
  monitor_.Add(kind, service);
}

double TrafficControl::foreground_factor() const {
  absl::MutexLock lock(&mu_);
  return monitor_.factor();
}

void TrafficControl::Measure(const BandwidthGate& gate, double seconds, bool uncut, Meter& meter) {
  const uint64_t granted = gate.granted_bytes();
  const double rate = static_cast<double>(granted - meter.granted_bytes) / seconds;
  meter.granted_bytes = granted;
  if (uncut) {
    meter.rate = std::max(rate, meter.rate * kRateDecay);
  }
}

void TrafficControl::Decide() {
  executor_.RunAfter(ForegroundMonitor::kPeriod, [this] { Decide(); });
  uint64_t moved = other_bytes_();
  for (const ClassGates& gates : gates_) {
    moved += gates.receive->granted_bytes() + gates.send->granted_bytes();
  }
  const SteadyTime now = clock_.SteadyNow();
  const double seconds = std::max(absl::ToDoubleSeconds(now - decided_), 0.1);
  decided_ = now;
  const double moved_since = static_cast<double>(moved - std::exchange(moved_bytes_, moved));
  const bool background = moved_since >= kFeltBytesPerSecond * seconds;
  double factor = 1;
  std::array<absl::Duration, 2> normal;
  {
    absl::MutexLock lock(&mu_);
    const double before = monitor_.factor();
    Measure(*gates_[kRebalance].receive, seconds, before >= 1, received_);
    Measure(*gates_[kRebalance].send, seconds, before >= 1, sent_);
    monitor_.Decide(now, background);
    factor = monitor_.factor();
    if (factor != before) {
      SetRatesLocked();
    }
    normal = {monitor_.normal(ForegroundMonitor::Kind::kRead),
              monitor_.normal(ForegroundMonitor::Kind::kWrite)};
  }
  if (factor < kLoggedBelow && (!yielded_.has_value() || now - *yielded_ >= kLogInterval)) {
    yielded_ = now;
    LogInfo("traffic_control.yields", {{"factor", absl::StrFormat("%.2f", factor)},
                                       {"normal_read_us", absl::ToInt64Microseconds(normal[0])},
                                       {"normal_write_us", absl::ToInt64Microseconds(normal[1])}});
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
