// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "common/base/steady_time.h"

namespace ballast::chunkserver {

// Decides how much of its rate rebalancing may use while clients are served: a factor of 0.1 to 1.
//
// It is told how long clients' operations take and looks at them in windows of half a second, or up
// to two where there are few. Reads and writes are judged each for itself:
//
//   p99      of the window
//   normal   decayed mean of the p99 of windows without background work, or with as little of it as
//            there can be (factor 0.1): normal += (min(p99, 4 normal) - normal) (1 - 2^(-dt / 60
//            s))
//   breach   p99 > 1.3 normal + 0.5 ms     factor *= limit / p99, by at most half and at least 5 %
//   calm     p99 < 1.15 normal + 0.25 ms   factor += 0.05
//   between                                factor stays
//
// A window of fewer than 100 samples is a breach only if the one before was, too. A kind with fewer
// than 5 samples in two seconds has no say; if that is so for both, nobody is to be spared, and the
// factor doubles each time. While background work runs and normal is not known the factor is 0.1.
// After a cut both windows begin anew, so that nothing is cut twice for what was before; the band
// in between keeps the factor from swinging. If latency stays high with the factor at 0.1,
// background work is not the reason, and normal follows.
//
// Concurrency: none; its owner serialises. Pure.
class ForegroundMonitor {
 public:
  enum class Kind { kRead = 0, kWrite = 1 };

  static constexpr double kFactorMin = 0.1;
  // How often Decide is to be called.
  static constexpr absl::Duration kPeriod = absl::Milliseconds(500);

  // An operation of a client was served within this time.
  void Add(Kind kind, absl::Duration service);

  // `background`: whether copies and scrubbing moved more since the last call than could be felt.
  void Decide(SteadyTime now, bool background);

  double factor() const { return factor_; }
  // Zero: not known yet.
  absl::Duration normal(Kind kind) const;

 private:
  // Buckets grow by 2^(1/16); the first ends at 10 us, the last is everything beyond some 160 s.
  static constexpr size_t kBuckets = 24 * 16;
  enum class Verdict { kCollecting, kIdle, kLearning, kBreach, kBetween, kCalm };
  struct Window {
    SteadyTime begin;
    bool begun = false;
    bool background = false;  // at any time in it
    bool at_minimum = false;  // the factor, at its beginning
    size_t count = 0;
    std::array<uint32_t, kBuckets> buckets = {};
  };
  struct State {
    Window window;
    double normal_s = 0;
    size_t windows_learned = 0;
    bool breached_before = false;
    bool idle = false;  // its last window ended without enough samples
  };
  struct Judgement {
    Verdict verdict;
    double ratio = 1;  // of a breach: limit / p99
  };

  void BeginWindow(State& state, SteadyTime now) const;
  Judgement Judge(State& state, SteadyTime now, bool background) const;
  static double P99(const Window& window);
  static void Learn(State& state, double p99_s, absl::Duration span);

  double factor_ = 1;
  std::array<State, 2> kinds_;
};

// The rate, in bytes a second, of a class whose limit is `limit` (0: none) under a factor. Below a
// factor of 1 it is taken of what the class really moved before the cut, `measured`, if that is
// less than the limit: else a limit that nothing reaches could not be felt. At least 10 % of 4 MB/s
// are left, or of the limit if that is lower.
uint64_t BackedOffRate(uint64_t limit, uint64_t measured, double factor);

}  // namespace ballast::chunkserver
