// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/copy_task.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/types/blocks.h"
#include "common/types/error.h"
#include "services/chunkserver/core/command_queue.h"

namespace ballast::chunkserver {
namespace {

std::vector<std::string> NamesOf(const CopyOrder& order) {
  std::vector<std::string> names;
  for (const v1::ReplicaLocation& source : order.sources) {
    names.push_back(source.address());
  }
  return names;
}

// What is wrong on this side: the two reasons a master acts on, and the rest.
absl::Status OwnFailure(const absl::Status& status) {
  switch (ReasonOf(status)) {
    case v1::REASON_NO_SPACE:
    case v1::REASON_CHUNK_EXISTS:
      return status;
    default:
      return MakeError(v1::REASON_COPY_FAILED, absl::StrCat("on this server: ", status.message()));
  }
}

uint64_t BytesOf(const SourceMessage& message) {
  uint64_t bytes = 0;
  for (const absl::string_view piece : message.pieces) {
    bytes += piece.size();
  }
  return bytes;
}

}  // namespace

CopyTask::CopyTask(ChunkCopier& copier, CopyOrder order, ChunkCopier::OnDone on_done)
    : copier_(copier),
      order_(std::move(order)),
      on_done_(std::move(on_done)),
      plan_(NamesOf(order_)) {}

void CopyTask::Start() {
  absl::MutexLock lock(&mu_);
  KickLocked();
}

void CopyTask::Cancel() {
  absl::MutexLock lock(&mu_);
  cancelled_ = true;
  if (phase_ == Phase::kReceiving) {
    FailSourceLocked(absl::CancelledError("the copy was cancelled"));
  }
}

// --- what can be done now
// --------------------------------------------------------------------------

bool CopyTask::HasWorkLocked() const {
  switch (phase_) {
    case Phase::kOpening:
    case Phase::kEnding:
      return true;
    case Phase::kReceiving:
      return ended_ || (failure_.ok() && !queue_.empty());
    case Phase::kEnded:
      break;
  }
  return false;
}

void CopyTask::KickLocked() {
  if (!working_ && HasWorkLocked()) {
    working_ = true;
    copier_.post_blocking_([self = shared_from_this()] { self->Work(); });
  }
}

// One piece of work at a time, so that those of other copies and streams come in between.
void CopyTask::Work() {
  Phase phase;
  std::optional<SourceMessage> message;
  {
    absl::MutexLock lock(&mu_);
    phase = phase_;
    if (!HasWorkLocked()) {  // a message was dropped since
      working_ = false;
      return;
    }
    if (phase == Phase::kReceiving && failure_.ok() && !queue_.empty()) {
      message = std::move(queue_.front());
      queue_.pop_front();
    }
  }
  if (phase == Phase::kEnding) {
    End();
    return;
  }
  if (phase == Phase::kOpening) {
    OpenSource();
  } else if (message.has_value()) {
    StoreMessage(*message);
    message.reset();
  } else {
    CloseSource();
  }
  absl::MutexLock lock(&mu_);
  working_ = false;
  KickLocked();
}

void CopyTask::MaybeReadLocked() {
  if (phase_ != Phase::kReceiving || ended_ || !failure_.ok() || reading_ || ticket_.has_value() ||
      held_ >= kHeldMax) {
    return;
  }
  // After the last byte only the end is to come.
  const int64_t wanted =
      static_cast<int64_t>(std::min(message_bytes_, order_.length_bytes - received_bytes_));
  if (order_.gate != nullptr && credit_bytes_ < wanted) {
    asked_bytes_ = wanted - credit_bytes_;
    ticket_ = order_.gate->Ask(static_cast<uint64_t>(asked_bytes_),
                               [weak = weak_from_this(), attempt = attempt_] {
                                 if (const auto self = weak.lock()) {
                                   self->OnGranted(attempt);
                                 }
                               });
    if (ticket_.has_value()) {
      return;
    }
    credit_bytes_ += asked_bytes_;
  }
  ReadLocked();
}

void CopyTask::ReadLocked() {
  reading_ = true;
  reading_since_ = copier_.clock_.SteadyNow();
  stream_->Next();
}

void CopyTask::FailSourceLocked(const absl::Status& why) {
  if (!failure_.ok()) {
    return;
  }
  failure_ = why;
  queue_.clear();
  DropTimerAndTicketLocked();
  if (!ended_) {
    stream_->Cancel();
  }
}

void CopyTask::DropTimerAndTicketLocked() {
  if (stall_timer_.has_value()) {
    copier_.executor_.Cancel(*stall_timer_);
    stall_timer_.reset();
  }
  if (ticket_.has_value()) {
    order_.gate->Cancel(*ticket_);
    ticket_.reset();
  }
}

// --- events
// ----------------------------------------------------------------------------------------

void CopyTask::OnMessage(uint64_t attempt, SourceMessage message) {
  absl::MutexLock lock(&mu_);
  if (attempt != attempt_ || ended_ || !failure_.ok()) {
    return;
  }
  reading_ = false;
  const uint64_t bytes = BytesOf(message);
  if (message.offset_bytes != received_bytes_ || bytes == 0 ||
      bytes > order_.length_bytes - received_bytes_) {
    FailSourceLocked(absl::InternalError(
        absl::StrCat(bytes, " bytes came at offset ", message.offset_bytes, ", after ",
                     received_bytes_, " of ", order_.length_bytes)));
    return;
  }
  received_bytes_ += bytes;
  credit_bytes_ -= static_cast<int64_t>(bytes);
  ++held_;
  queue_.push_back(std::move(message));
  KickLocked();
  MaybeReadLocked();
}

void CopyTask::OnEnd(uint64_t attempt, const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  CHECK(attempt == attempt_ && !ended_);
  ended_ = true;
  end_status_ = status;
  DropTimerAndTicketLocked();
  KickLocked();
}

void CopyTask::OnGranted(uint64_t attempt) {
  absl::MutexLock lock(&mu_);
  if (attempt != attempt_ || !ticket_.has_value()) {
    return;  // given up meanwhile
  }
  ticket_.reset();
  credit_bytes_ += asked_bytes_;
  MaybeReadLocked();
}

void CopyTask::ArmStallTimerLocked(absl::Duration wait) {
  stall_timer_ = copier_.executor_.RunAfter(wait, [weak = weak_from_this(), attempt = attempt_] {
    if (const auto self = weak.lock()) {
      self->OnStallTimer(attempt);
    }
  });
}

void CopyTask::OnStallTimer(uint64_t attempt) {
  absl::MutexLock lock(&mu_);
  if (attempt != attempt_ || phase_ != Phase::kReceiving || ended_ || !failure_.ok()) {
    return;
  }
  stall_timer_.reset();
  const absl::Duration patience = copier_.options_.stall_timeout;
  // Waiting for the disk or the gate is no fault of the source.
  const absl::Duration waited =
      reading_ ? copier_.clock_.SteadyNow() - reading_since_ : absl::ZeroDuration();
  if (waited >= patience) {
    FailSourceLocked(absl::DeadlineExceededError(
        absl::StrCat("nothing came for ", absl::FormatDuration(patience), ", after ",
                     received_bytes_, " of ", order_.length_bytes, " bytes")));
    return;
  }
  ArmStallTimerLocked(patience - waited);
}

// --- disk pool
// -------------------------------------------------------------------------------------

// False: the chunk is here already. True: writer_ is ready.
absl::StatusOr<bool> CopyTask::Reserve() {
  const absl::StatusOr<ReplicaFacts> held = copier_.store_.Stat(order_.handle);
  if (held.ok()) {
    if (held->length_bytes == order_.length_bytes && held->crc32c == order_.crc32c &&
        held->state != ReplicaState::kCorrupt) {
      return false;
    }
    return MakeError(
        v1::REASON_CHUNK_EXISTS,
        absl::StrCat(
            "chunk ", order_.handle.ToString(), " is here, ",
            held->state == ReplicaState::kCorrupt ? "damaged" : "with another length or checksum"));
  }
  if (ReasonOf(held.status()) != v1::REASON_CHUNK_NOT_FOUND) {
    return held.status();
  }
  ASSIGN_OR_RETURN(writer_, copier_.store_.StartWrite(order_.handle, order_.length_bytes));
  return true;
}

void CopyTask::OpenSource() {
  const std::optional<SourcePlan::Try> next = plan_.Next();
  if (!next.has_value()) {
    EndWith(plan_.GiveUp(kResultTextBytesMax), 0);
    return;
  }
  const absl::StatusOr<bool> reserved = Reserve();
  if (!reserved.ok() || !*reserved) {
    EndWith(reserved.ok() ? absl::OkStatus() : OwnFailure(reserved.status()), 0);
    return;
  }
  absl::MutexLock lock(&mu_);
  if (cancelled_) {
    result_.status = absl::CancelledError("the copy was cancelled");
    phase_ = Phase::kEnding;
    return;
  }
  phase_ = Phase::kReceiving;
  ++attempt_;
  message_bytes_ = copier_.options_.message_bytes;
  if (order_.gate != nullptr) {
    message_bytes_ = std::min(message_bytes_, order_.gate->PieceBytes());
  }
  held_ = 0;
  received_bytes_ = 0;
  credit_bytes_ = 0;
  reading_ = false;
  ended_ = false;
  failure_ = absl::OkStatus();
  SourceRequest request;
  request.source = order_.sources[next->source];
  request.handle = order_.handle;
  request.traffic = order_.traffic;
  request.message_bytes = message_bytes_;
  request.new_connection = next->new_connection;
  request.timeout = copier_.options_.source_timeout;
  SourceEvents events;
  events.on_message = [self = shared_from_this(), attempt = attempt_](SourceMessage message) {
    self->OnMessage(attempt, std::move(message));
  };
  events.on_end = [self = shared_from_this(), attempt = attempt_](const absl::Status& status) {
    self->OnEnd(attempt, status);
  };
  // Its events wait for mu_, so that stream_ is set before the first.
  stream_ = copier_.sources_.Open(request, std::move(events));
  ArmStallTimerLocked(copier_.options_.stall_timeout);
  MaybeReadLocked();
}

void CopyTask::StoreMessage(const SourceMessage& message) {
  absl::Status bad_source;
  absl::StatusOr<VerifiedBlocks> blocks = VerifiedBlocks::Verify(message.pieces, message.blocks);
  if (!blocks.ok()) {
    bad_source = blocks.status();
  } else if (const absl::Status stored = writer_->Append(*blocks); !stored.ok()) {
    // INVALID_ARGUMENT is about what came, all else about the disk.
    (absl::IsInvalidArgument(stored) ? bad_source : fatal_) = stored;
  }
  absl::MutexLock lock(&mu_);
  --held_;
  if (!bad_source.ok() || !fatal_.ok()) {
    FailSourceLocked(bad_source.ok() ? fatal_ : bad_source);
  }
  MaybeReadLocked();
}

void CopyTask::CloseSource() {
  SourcePlan::Failure failure;
  {
    absl::MutexLock lock(&mu_);
    failure.status = failure_;
    failure.connection_was_idle = stream_->on_idle_connection();
    failure.got_bytes = received_bytes_ > 0;
    if (failure_.ok() && received_bytes_ < order_.length_bytes) {
      failure.status =
          !end_status_.ok()
              ? end_status_
              : absl::OutOfRangeError(absl::StrCat("it has only ", received_bytes_, " of ",
                                                   order_.length_bytes, " bytes"));
    }
    stream_.reset();
  }
  if (failure.status.ok()) {
    // All of it came, so how the stream ended is of no interest.
    const absl::Status prepared = writer_->Prepare(order_.length_bytes, order_.crc32c);
    if (ReasonOf(prepared) == v1::REASON_CHECKSUM_MISMATCH) {
      failure.status = prepared;
    } else {
      fatal_ = prepared.ok() ? writer_->Commit() : prepared;
      if (fatal_.ok()) {
        writer_.reset();
        EndWith(absl::OkStatus(), order_.length_bytes);
        return;
      }
    }
  }
  writer_.reset();  // removes what was written
  if (!fatal_.ok()) {
    EndWith(OwnFailure(fatal_), 0);
    return;
  }
  plan_.OnFailed(failure);
  absl::MutexLock lock(&mu_);
  if (cancelled_) {
    result_.status = absl::CancelledError("the copy was cancelled");
    phase_ = Phase::kEnding;
  } else {
    phase_ = Phase::kOpening;
  }
}

void CopyTask::EndWith(const absl::Status& status, uint64_t bytes) {
  result_ = CopyResult{.status = status, .bytes = bytes};
  absl::MutexLock lock(&mu_);
  phase_ = Phase::kEnding;
}

void CopyTask::End() {
  writer_.reset();
  {
    absl::MutexLock lock(&mu_);
    phase_ = Phase::kEnded;
    working_ = false;
  }
  if (result_.status.ok()) {
    LogInfo("chunk_copier.copied", {{"chunk", order_.handle.ToString()}, {"bytes", result_.bytes}});
  } else {
    LogWarning("chunk_copier.failed", {{"chunk", order_.handle.ToString()},
                                       {"error", std::string(result_.status.message())}});
  }
  ChunkCopier::OnDone on_done = std::move(on_done_);
  on_done(result_);
  copier_.Ended(shared_from_this());
}

}  // namespace ballast::chunkserver
