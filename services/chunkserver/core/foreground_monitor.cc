// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/foreground_monitor.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace ballast::chunkserver {
namespace {

constexpr size_t kSamplesMin = 5;
constexpr size_t kSamplesEnough = 20;    // a window ends as soon as it has so many
constexpr size_t kSamplesCertain = 100;  // one window is proof
constexpr absl::Duration kWindowMax = absl::Seconds(2);
constexpr size_t kWindowsToLearn = 3;
constexpr double kNormalHalfLifeS = 60;
constexpr double kOutlier = 4;
constexpr double kFirstBucketS = 10e-6;
constexpr double kBucketsPerOctave = 16;
constexpr double kStep = 0.05;
constexpr double kIdleGrowth = 2;
constexpr double kCutMost = 0.5;
constexpr double kCutLeast = 0.95;
constexpr uint64_t kBaseMin = 4'000'000;

double Limit(double normal_s) { return 1.3 * normal_s + 0.5e-3; }
double Calm(double normal_s) { return 1.15 * normal_s + 0.25e-3; }

}  // namespace

void ForegroundMonitor::Add(Kind kind, absl::Duration service) {
  Window& window = kinds_[static_cast<size_t>(kind)].window;
  const double ratio = absl::ToDoubleSeconds(service) / kFirstBucketS;
  const double bucket = ratio <= 1 ? 0 : std::ceil(std::log2(ratio) * kBucketsPerOctave);
  ++window.buckets[static_cast<size_t>(std::min(bucket, double{kBuckets - 1}))];
  ++window.count;
}

absl::Duration ForegroundMonitor::normal(Kind kind) const {
  const State& state = kinds_[static_cast<size_t>(kind)];
  return state.windows_learned < kWindowsToLearn ? absl::ZeroDuration()
                                                 : absl::Seconds(state.normal_s);
}

double ForegroundMonitor::P99(const Window& window) {
  const size_t rank = (window.count * 99 + 99) / 100;
  size_t seen = 0;
  size_t bucket = 0;
  while (bucket + 1 < kBuckets && (seen += window.buckets[bucket]) < rank) {
    ++bucket;
  }
  return kFirstBucketS * std::exp2(static_cast<double>(bucket) / kBucketsPerOctave);
}

void ForegroundMonitor::Learn(State& state, double p99_s, absl::Duration span) {
  const double seen =
      state.windows_learned == 0 ? p99_s : std::min(p99_s, kOutlier * state.normal_s);
  const double decayed = 1 - std::exp2(-absl::ToDoubleSeconds(span) / kNormalHalfLifeS);
  // The first windows count alike.
  const double weight = std::max(decayed, 1 / (1 + static_cast<double>(state.windows_learned)));
  state.normal_s +=
      (seen - state.normal_s) * (state.windows_learned < kWindowsToLearn ? weight : decayed);
  ++state.windows_learned;
}

void ForegroundMonitor::BeginWindow(State& state, SteadyTime now) const {
  state.window = Window();
  state.window.begin = now;
  state.window.begun = true;
  state.window.at_minimum = factor_ <= kFactorMin;
}

ForegroundMonitor::Judgement ForegroundMonitor::Judge(State& state, SteadyTime now,
                                                      bool background) const {
  Window& window = state.window;
  if (!window.begun) {
    BeginWindow(state, now);
    return {Verdict::kCollecting};
  }
  window.background = window.background || background;
  const absl::Duration span = now - window.begin;
  if (window.count < (span < kWindowMax ? kSamplesEnough : kSamplesMin)) {
    if (span < kWindowMax) {
      return {Verdict::kCollecting};
    }
    state.breached_before = false;
    state.idle = true;
    BeginWindow(state, now);
    return {Verdict::kIdle};
  }
  state.idle = false;
  const double p99 = P99(window);
  const bool certain = window.count >= kSamplesCertain;
  const bool with_background = window.background;
  if (!with_background || window.at_minimum) {
    Learn(state, p99, span);
  }
  BeginWindow(state, now);
  if (!with_background) {
    state.breached_before = false;
    return {Verdict::kCalm};
  }
  if (state.windows_learned < kWindowsToLearn) {
    return {Verdict::kLearning};
  }
  const double limit = Limit(state.normal_s);
  const bool above = p99 > limit;
  const bool breach = above && (certain || state.breached_before);
  state.breached_before = above;
  if (breach) {
    return {Verdict::kBreach, limit / p99};
  }
  return {p99 < Calm(state.normal_s) ? Verdict::kCalm : Verdict::kBetween};
}

void ForegroundMonitor::Decide(SteadyTime now, bool background) {
  bool learning = false;
  bool stays = false;
  bool calm = false;
  bool idle = false;
  double cut = 1;
  for (State& state : kinds_) {
    const Judgement judged = Judge(state, now, background);
    switch (judged.verdict) {
      case Verdict::kCollecting:
        break;
      case Verdict::kIdle:
        idle = true;
        break;
      case Verdict::kLearning:
        learning = true;
        break;
      case Verdict::kBreach:
        cut = std::min(cut, std::clamp(judged.ratio, kCutMost, kCutLeast));
        break;
      case Verdict::kBetween:
        stays = true;
        break;
      case Verdict::kCalm:
        calm = true;
        break;
    }
  }
  const double before = factor_;
  if (cut < 1) {
    factor_ = std::max(kFactorMin, factor_ * cut);
  } else if (learning) {
    factor_ = kFactorMin;
  } else if (!stays && calm) {
    factor_ = std::min(1.0, factor_ + kStep);
  } else if (idle && kinds_[0].idle && kinds_[1].idle) {
    factor_ = std::min(1.0, factor_ * kIdleGrowth);
  }
  if (factor_ < before) {
    for (State& state : kinds_) {
      BeginWindow(state, now);
    }
  }
}

uint64_t BackedOffRate(uint64_t limit, uint64_t measured, double factor) {
  if (factor >= 1) {
    return limit;
  }
  uint64_t base = std::max(measured, kBaseMin);
  if (limit != 0) {
    base = std::min(base, limit);
  }
  return std::max<uint64_t>(static_cast<uint64_t>(static_cast<double>(base) *
                                                  std::max(factor, ForegroundMonitor::kFactorMin)),
                            1);
}

}  // namespace ballast::chunkserver
