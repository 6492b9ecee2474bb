// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/chunkserver/control/chunk_copier.h"
#include "services/chunkserver/core/source_plan.h"

namespace ballast::chunkserver {

// One copy of the ChunkCopier: its sources one after the other, its bytes from network to disk.
//
// A source is open -> its messages are stored as they come -> it has ended, by itself or because it
// was cancelled, and what came is stored or dropped -> the chunk is published, or what was written
// is removed and the next source is opened. So there is one stream at a time, and nothing of a
// source is left when the next begins. Concurrency: events of streams, gates and timers only note
// what happened; everything that blocks runs on the disk pool, one piece at a time. Lifetime: kept
// by the copier until it has ended, and by whatever may still call it.
class CopyTask final : public std::enable_shared_from_this<CopyTask> {
 public:
  // Messages received and not yet stored: the bound on memory, and the back pressure on the source.
  static constexpr uint64_t kHeldMax = 3;

  CopyTask(ChunkCopier& copier, CopyOrder order, ChunkCopier::OnDone on_done);

  void Start() ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  enum class Phase {
    kOpening,    // to do: reserve space and open the next source
    kReceiving,  // from stream_
    kEnding,     // no further source is asked; what is left is removed
    kEnded,      // result_ is final
  };

  // --- events; `attempt` tells those of earlier sources ---
  void OnMessage(uint64_t attempt, SourceMessage message) ABSL_LOCKS_EXCLUDED(mu_);
  void OnEnd(uint64_t attempt, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  void OnGranted(uint64_t attempt) ABSL_LOCKS_EXCLUDED(mu_);
  void OnStallTimer(uint64_t attempt) ABSL_LOCKS_EXCLUDED(mu_);

  // --- disk pool ---
  void Work() ABSL_LOCKS_EXCLUDED(mu_);
  void OpenSource() ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<bool> Reserve();
  void StoreMessage(const SourceMessage& message) ABSL_LOCKS_EXCLUDED(mu_);
  void CloseSource() ABSL_LOCKS_EXCLUDED(mu_);
  void End() ABSL_LOCKS_EXCLUDED(mu_);

  void EndWith(const absl::Status& status, uint64_t bytes) ABSL_LOCKS_EXCLUDED(mu_);
  bool HasWorkLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void KickLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeReadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FailSourceLocked(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ArmStallTimerLocked(absl::Duration wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropTimerAndTicketLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  ChunkCopier& copier_;
  const CopyOrder order_;

  // Used by Work alone, which runs once at a time.
  ChunkCopier::OnDone on_done_;
  SourcePlan plan_;
  std::unique_ptr<ChunkWriter> writer_;
  absl::Status fatal_;  // no other source would do better
  CopyResult result_;

  absl::Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kOpening;
  bool working_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;

  // The source at hand.
  uint64_t attempt_ ABSL_GUARDED_BY(mu_) = 0;
  std::shared_ptr<SourceStream> stream_ ABSL_GUARDED_BY(mu_);
  uint64_t message_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<SourceMessage> queue_ ABSL_GUARDED_BY(mu_);
  uint64_t held_ ABSL_GUARDED_BY(mu_) = 0;  // messages received and not yet stored
  uint64_t received_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;  // Next was called and not answered
  SteadyTime reading_since_ ABSL_GUARDED_BY(mu_);
  int64_t credit_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // granted by the gate and not yet received
  int64_t asked_bytes_ ABSL_GUARDED_BY(mu_) = 0;   // while ticket_ waits at the gate
  std::optional<TrafficGate::Ticket> ticket_ ABSL_GUARDED_BY(mu_);
  std::optional<Executor::TimerId> stall_timer_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // on_end has come
  absl::Status end_status_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);  // why this source is given up, the first reason
};

}  // namespace ballast::chunkserver
