// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/scrubber.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/types/error.h"

namespace ballast::chunkserver {
namespace {

constexpr size_t kPageChunks = 4096;
constexpr absl::Duration kLoadingPause = absl::Seconds(1);
constexpr absl::Duration kLogInterval = absl::Hours(6);
constexpr absl::Duration kLogIntervalBehind = absl::Hours(1);
constexpr uint64_t kNoteBytesMax = KiB(64);

ScrubNote LoadNote(FileSystem& fs, const std::string& file) {
  const absl::StatusOr<std::string> bytes = ReadFile(fs, file, kNoteBytesMax);
  if (absl::IsNotFound(bytes.status())) {
    return ScrubNote();
  }
  const absl::StatusOr<ScrubNote> note =
      bytes.ok() ? ScrubNote::Decode(*bytes) : absl::StatusOr<ScrubNote>(bytes.status());
  if (!note.ok()) {
    LogWarning("scrubber.note_lost", {{"error", note.status().ToString()}});
    return ScrubNote();
  }
  return *note;
}

ScrubPlan MakePlan(ChunkStore& store, const ScrubNote& at_start, uint32_t now_s,
                   absl::Duration period) {
  ScrubPlanner planner(at_start, now_s, period);
  ChunkHandle after(0);
  while (true) {
    const std::vector<ChunkStore::Verification> page = store.ListVerifications(after, kPageChunks);
    for (const ChunkStore::Verification& chunk : page) {
      if (chunk.facts.state == ReplicaState::kCorrupt) {
        planner.AddCorrupt(chunk.handle);
        continue;
      }
      planner.Add(ScrubCandidate{.handle = chunk.handle,
                                 .bytes = ScrubCost(chunk.facts.length_bytes),
                                 .verified = chunk.facts.state == ReplicaState::kVerified,
                                 .verified_s = chunk.verified_s});
    }
    if (page.size() < kPageChunks) {
      return planner.Finish();
    }
    after = page.back().handle;
  }
}

}  // namespace

Scrubber::Scrubber(ScrubberOptions options, Executor& executor, Clock& clock,
                   std::shared_ptr<PostGate> gate, ChunkStore& store, PostBlocking post_blocking,
                   std::function<double()> foreground_factor)
    : options_(std::move(options)),
      executor_(executor),
      clock_(clock),
      gate_(std::move(gate)),
      store_(store),
      post_blocking_(std::move(post_blocking)),
      foreground_factor_(std::move(foreground_factor)),
      rate_gate_(BandwidthGate::Make(executor, clock, ScrubPlanner::kRateFloor)),
      started_(clock.SteadyNow()),
      period_(options_.period) {}

uint32_t Scrubber::ClockSeconds() const {
  return at_start_.clock_s +
         static_cast<uint32_t>(absl::ToInt64Seconds(clock_.SteadyNow() - started_));
}

void Scrubber::Start() {
  post_blocking_([this, gate = gate_, &fs = store_.file_system(), file = options_.note_file] {
    const ScrubNote note = LoadNote(fs, file);
    gate->Post([this, note] {
      at_start_ = note;
      Plan();
    });
  });
}

void Scrubber::SetPeriod(absl::Duration period) {
  const absl::Duration wanted = std::max(period, absl::Hours(1));
  if (wanted == period_) {
    return;
  }
  period_ = wanted;
  planned_ = clock_.SteadyNow() - options_.plan_interval;  // the plan at hand is out of date
  if (plan_timer_.has_value()) {
    executor_.Cancel(*plan_timer_);
    Plan();
  }
}

void Scrubber::PlanAfter(absl::Duration pause) {
  plan_timer_ = executor_.RunAfter(pause, [this] { Plan(); });
}

void Scrubber::Plan() {
  plan_timer_.reset();
  store_.SetVerificationClock(ClockSeconds());
  if (!store_.serving()) {
    PlanAfter(kLoadingPause);
    return;
  }
  planned_ = clock_.SteadyNow();
  post_blocking_([this, gate = gate_, &store = store_, file = options_.note_file,
                  at_start = at_start_, now_s = ClockSeconds(), period = period_] {
    ScrubPlan plan = MakePlan(store, at_start, now_s, period);
    const absl::Status noted = WriteFileAtomically(store.file_system(), file, plan.note.Encode());
    if (!noted.ok()) {
      LogWarning("scrubber.note_not_written", {{"error", noted.ToString()}});
    }
    gate->Post([this, plan = std::move(plan)]() mutable { OnPlan(std::move(plan)); });
  });
}

void Scrubber::OnPlan(ScrubPlan plan) {
  plan_ = std::move(plan);
  next_ = 0;
  failed_ = false;
  LogProgress();
  Next();
}

void Scrubber::LogProgress() {
  const SteadyTime now = clock_.SteadyNow();
  const absl::Duration interval = plan_.behind ? kLogIntervalBehind : kLogInterval;
  if (plan_.chunks == 0 || (has_logged_ && now - logged_ < interval)) {
    return;
  }
  has_logged_ = true;
  logged_ = now;
  const uint32_t oldest_hours = (plan_.note.clock_s - plan_.oldest_s) / 3600;
  LogInfo(plan_.behind ? "scrubber.behind" : "scrubber.progress",
          {{"chunks", plan_.chunks},
           {"bytes", plan_.bytes},
           {"due", plan_.batch.size()},
           {"oldest_verification_hours", oldest_hours},
           {"wanted_bytes_per_second", plan_.wanted_rate}});
}

void Scrubber::Next() {
  if (next_ == plan_.batch.size()) {
    if (plan_.batch.empty()) {
      PlanAfter(options_.plan_interval);
    } else if (failed_) {
      PlanAfter(options_.failure_pause);
    } else {
      Plan();
    }
    return;
  }
  if (clock_.SteadyNow() - planned_ >= options_.plan_interval) {
    Plan();
    return;
  }
  left_bytes_ = plan_.batch[next_].bytes;
  Ask();
}

void Scrubber::Ask() {
  store_.SetVerificationClock(ClockSeconds());
  rate_gate_->SetRate(plan_.Rate(foreground_factor_()));
  const uint64_t bytes = std::clamp<uint64_t>(left_bytes_, 1, options_.piece_bytes);
  if (!rate_gate_->Ask(bytes, [this] { Read(); }).has_value()) {
    Read();
  }
}

void Scrubber::Read() {
  post_blocking_([this, gate = gate_, &store = store_, handle = plan_.batch[next_].handle,
                  bytes = options_.piece_bytes, verification = std::move(verification_)]() mutable {
    absl::StatusOr<bool> done = false;
    if (verification == nullptr) {
      absl::StatusOr<std::unique_ptr<ChunkVerification>> started =
          ChunkVerification::Start(store, handle);
      if (started.ok()) {
        verification = *std::move(started);
      } else {
        done = started.status();
      }
    }
    if (done.ok()) {
      done = verification->Step(bytes);
    }
    gate->Post([this, verification = std::move(verification), done = std::move(done)]() mutable {
      OnRead(std::move(verification), done);
    });
  });
  verification_ = nullptr;
}

void Scrubber::OnRead(std::shared_ptr<ChunkVerification> verification,
                      const absl::StatusOr<bool>& done) {
  left_bytes_ -= std::min(left_bytes_, options_.piece_bytes);
  if (done.ok() && !*done) {
    verification_ = std::move(verification);
    Ask();
    return;
  }
  // Damage is marked and logged by the store; what is gone needs no verification.
  const v1::Reason reason = ReasonOf(done.status());
  if (!done.ok() && reason != v1::REASON_CHECKSUM_MISMATCH &&
      reason != v1::REASON_CHUNK_NOT_FOUND) {
    failed_ = true;
    LogWarning("scrubber.not_read", {{"chunk", plan_.batch[next_].handle.ToString()},
                                     {"error", done.status().ToString()}});
  }
  ++next_;
  Next();
}

}  // namespace ballast::chunkserver
