// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "protos/common.pb.h"
#include "protos/shardctl_service.pb.h"
#include "services/chunkserver/control/bandwidth_gate.h"
#include "services/chunkserver/core/foreground_monitor.h"

namespace ballast::chunkserver {

// The limits of one server's traffic that is nobody's request: repair and rebalancing.
//
// Each class has a gate for what this server receives and one for what it sends, both with the
// class's limit for one server; and each copy has one of its own, for its share of the class's
// limit in the whole cluster. Until settings are known their defaults hold. Clients' traffic is
// never limited. Once told to, it watches how clients are served and cuts the rates of rebalancing
// and repair, in both directions, by the factor of core/foreground_monitor.h; repair keeps at least
// half of its limit, since another replica may be lost meanwhile. Concurrency: thread-safe, does
// not block. Lifetime: the clock outlives it and all its gates; so does the executor, or it ends
// when nobody asks a gate any more, and before this is destroyed if it backs off.
class TrafficControl {
 public:
  TrafficControl(Executor& executor, Clock& clock);
  TrafficControl(const TrafficControl&) = delete;
  TrafficControl& operator=(const TrafficControl&) = delete;

  // Holds at once, for copies and streams under way, too.
  void SetLimits(const v1::Settings& settings) ABSL_LOCKS_EXCLUDED(mu_);

  // For a stream that this server sends; null: no limit. Classes that this build does not know are
  // rebalancing.
  std::shared_ptr<TrafficGate> SendGate(v1::TrafficClass traffic) const;
  // For one copy that this server receives: its share, in millionths, of the class's limit in the
  // cluster (0: all of it), and the class's limit here. Null: no limit.
  std::shared_ptr<TrafficGate> GateForCopy(v1::TrafficClass traffic, uint32_t total_share_ppm)
      ABSL_LOCKS_EXCLUDED(mu_);

  // --- clients first ---
  // Begins to back off. `other_bytes`: what other background work of this server has moved so far;
  // called on the executor.
  void StartBackOff(std::function<uint64_t()> other_bytes) ABSL_LOCKS_EXCLUDED(mu_);
  // A client was served within this time: a read's first data, a write's message.
  void OnServed(ForegroundMonitor::Kind kind, absl::Duration service) ABSL_LOCKS_EXCLUDED(mu_);
  // How much of its rate background work that yields to clients may use: 0.1..1.
  double foreground_factor() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct ClassLimits {
    uint64_t server = 0;  // bytes a second; 0: no limit
    uint64_t total = 0;
  };
  struct ClassGates {
    std::shared_ptr<BandwidthGate> receive;
    std::shared_ptr<BandwidthGate> send;
  };
  // What one gate really lets pass, while nothing is cut.
  struct Meter {
    uint64_t granted_bytes = 0;  // at the last decision
    double rate = 0;             // bytes a second: the highest of late
  };
  struct CopyGate {
    size_t traffic;
    uint32_t share_ppm;
    std::weak_ptr<BandwidthGate> gate;
  };
  static constexpr size_t kRepair = 0;
  static constexpr size_t kRebalance = 1;
  static constexpr size_t kClasses = 2;

  static size_t IndexOf(v1::TrafficClass traffic);
  static void Measure(const BandwidthGate& gate, double seconds, bool uncut, Meter& meter);
  void Decide() ABSL_LOCKS_EXCLUDED(mu_);
  void SetRatesLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropEndedLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Executor& executor_;
  Clock& clock_;
  std::array<ClassGates, kClasses> gates_;  // never changed

  mutable absl::Mutex mu_;  // taken before those of the gates
  std::array<ClassLimits, kClasses> limits_ ABSL_GUARDED_BY(mu_);
  std::vector<CopyGate> copies_ ABSL_GUARDED_BY(mu_);
  ForegroundMonitor monitor_ ABSL_GUARDED_BY(mu_);
  Meter received_ ABSL_GUARDED_BY(mu_);  // of rebalancing
  Meter sent_ ABSL_GUARDED_BY(mu_);

  // Used on the executor once it backs off.
  std::function<uint64_t()> other_bytes_;
  uint64_t moved_bytes_ = 0;
  SteadyTime decided_;
  std::optional<SteadyTime> yielded_;  // when that was logged last
};

}  // namespace ballast::chunkserver
