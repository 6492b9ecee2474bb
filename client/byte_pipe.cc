// SPDX-License-Identifier: Apache-2.0
#include "client/byte_pipe.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/time/time.h"

namespace ballast::client {
namespace {

// How soon a reader that waits sees that it was cancelled.
constexpr absl::Duration kCancellationLag = absl::Milliseconds(50);

}  // namespace

void BytePipe::End(absl::Status status) {
  absl::MutexLock lock(&mu_);
  if (!end_.has_value()) {
    end_ = std::move(status);
  }
}

void BytePipe::Fail(const absl::Status& status) { End(status); }

void BytePipe::CloseSource() {
  absl::MutexLock lock(&mu_);
  closed_ = true;
}

absl::Status BytePipe::PipeSink::WriteAt(uint64_t, absl::string_view bytes) {
  absl::MutexLock lock(&pipe_.mu_);
  pipe_.pending_ = bytes;
  const auto taken = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(pipe_.mu_) {
    return pipe_.pending_.empty() || pipe_.closed_;
  };
  pipe_.mu_.Await(absl::Condition(&taken));
  const bool all = pipe_.pending_.empty();
  pipe_.pending_ = {};
  return all ? absl::OkStatus() : absl::CancelledError("nobody reads any more");
}

absl::Status BytePipe::PipeSink::Finish() {
  pipe_.End(absl::OkStatus());
  return absl::OkStatus();
}

absl::StatusOr<size_t> BytePipe::PipeSource::ReadAt(uint64_t, char* out, size_t bytes,
                                                    const Cancellation& stop) {
  size_t filled = 0;
  absl::MutexLock lock(&pipe_.mu_);
  while (filled < bytes) {
    const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(pipe_.mu_) {
      return !pipe_.pending_.empty() || pipe_.end_.has_value();
    };
    if (!pipe_.mu_.AwaitWithTimeout(absl::Condition(&ready), kCancellationLag)) {
      if (stop.cancelled()) {
        return absl::CancelledError("cancelled");
      }
      continue;
    }
    if (pipe_.pending_.empty()) {
      if (!pipe_.end_->ok()) {
        return *pipe_.end_;
      }
      break;
    }
    const size_t n = std::min(bytes - filled, pipe_.pending_.size());
    std::memcpy(out + filled, pipe_.pending_.data(), n);
    pipe_.pending_.remove_prefix(n);
    filled += n;
  }
  return filled;
}

}  // namespace ballast::client
