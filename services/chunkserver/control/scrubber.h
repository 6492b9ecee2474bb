// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "services/chunkserver/control/bandwidth_gate.h"
#include "services/chunkserver/control/post_blocking.h"
#include "services/chunkserver/control/post_gate.h"
#include "services/chunkserver/core/scrub_schedule.h"
#include "services/chunkserver/store/chunk_store.h"
#include "services/chunkserver/store/chunk_verification.h"

namespace ballast::chunkserver {

struct ScrubberOptions {
  std::string note_file;                             // core/scrub_schedule.h
  absl::Duration plan_interval = absl::Minutes(10);  // at the latest; also how old the note gets
  absl::Duration failure_pause = absl::Minutes(1);   // when chunks could not be read
  uint64_t piece_bytes = MiB(1);                     // read at once
  absl::Duration period = absl::Hours(24) * kScrubDaysDefault;  // until SetPeriod
};

// Reads and checks every chunk of a store once in a period, in the background: the oldest
// verification first, as slowly as the deadlines allow, and slower while clients suffer.
//
// What it finds bad the store marks and reports as after any other read. It plans all chunks anew
// every ten minutes (core/scrub_schedule.h), leaves the note for the next start, and then reads the
// plan's chunks one after the other, in pieces that a gate of its own lets pass and that take a
// disk thread one at a time. Failure: a chunk that cannot be read for another reason than damage is
// tried again with the next plan; a note that cannot be read or written is logged, and every chunk
// counts as just verified at the start.
// Concurrency: lives on one executor; Start and SetPeriod are called there. Lifetime: all it is
// given outlives it; the gate leads to its executor and is closed, and the executor ended, before
// it is destroyed. It may be stopped so at any point.
class Scrubber {
 public:
  // `foreground_factor`: how much of its rate background work may use now; called on the executor.
  Scrubber(ScrubberOptions options, Executor& executor, Clock& clock,
           std::shared_ptr<PostGate> gate, ChunkStore& store, PostBlocking post_blocking,
           std::function<double()> foreground_factor);
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  void Start();
  // Within which every chunk is to be verified; at least an hour.
  void SetPeriod(absl::Duration period);

  // All that was ever read. Thread-safe.
  uint64_t read_bytes() const { return rate_gate_->granted_bytes(); }

 private:
  uint32_t ClockSeconds() const;
  void Plan();
  void OnPlan(ScrubPlan plan);
  void Next();
  void Ask();
  void Read();
  void OnRead(std::shared_ptr<ChunkVerification> verification, const absl::StatusOr<bool>& done);
  void PlanAfter(absl::Duration pause);
  void LogProgress();

  const ScrubberOptions options_;
  Executor& executor_;
  Clock& clock_;
  const std::shared_ptr<PostGate> gate_;
  ChunkStore& store_;
  const PostBlocking post_blocking_;
  const std::function<double()> foreground_factor_;
  const std::shared_ptr<BandwidthGate> rate_gate_;
  const SteadyTime started_;

  absl::Duration period_;
  ScrubNote at_start_;
  ScrubPlan plan_;
  SteadyTime planned_;
  size_t next_ = 0;                                  // in plan_.batch
  uint64_t left_bytes_ = 0;                          // of the chunk at hand
  std::shared_ptr<ChunkVerification> verification_;  // of the chunk at hand; used by one task
  bool failed_ = false;                              // a chunk of this batch could not be read
  SteadyTime logged_;
  bool has_logged_ = false;
  std::optional<Executor::TimerId> plan_timer_;
};

}  // namespace ballast::chunkserver
