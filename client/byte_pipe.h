// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "client/sink.h"
#include "client/source.h"

namespace ballast::client {

// Joins a Get to a Put: what one thread writes into its sink, another reads from its source. Holds
// no bytes of its own; a write waits until its bytes have been read.
//
// The source ends where the sink was finished, and only then: everything before has been verified.
// A writer that fails says so by Fail, and the reader gets that error; a reader that stops says so
// by CloseSource, and writes fail with CANCELLED.
//
// Concurrency: one writing and one reading thread; Fail and CloseSource from any. Lifetime:
// outlives both operations.
class BytePipe {
 public:
  // `size_bytes` if known. `check`, called when all has been read: the source's CheckUnchanged.
  BytePipe(std::optional<uint64_t> size_bytes, std::function<absl::Status()> check)
      : sink_(*this), source_(*this), size_bytes_(size_bytes), check_(std::move(check)) {}
  BytePipe(const BytePipe&) = delete;
  BytePipe& operator=(const BytePipe&) = delete;

  Sink& sink() { return sink_; }
  Source& source() { return source_; }

  // No more bytes come, because of `status` (not OK). Of several ends the first counts.
  void Fail(const absl::Status& status);
  // No more bytes are read.
  void CloseSource();

 private:
  class PipeSink final : public Sink {
   public:
    explicit PipeSink(BytePipe& pipe) : pipe_(pipe) {}
    bool unordered() const override { return false; }
    absl::Status WriteAt(uint64_t offset, absl::string_view bytes) override;
    absl::Status Finish() override;

   private:
    BytePipe& pipe_;
  };
  class PipeSource final : public Source {
   public:
    explicit PipeSource(BytePipe& pipe) : pipe_(pipe) {}
    bool rereadable() const override { return false; }
    std::optional<uint64_t> size_bytes() const override { return pipe_.size_bytes_; }
    absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t bytes,
                                  const Cancellation& stop) override;
    absl::Status CheckUnchanged() override { return pipe_.check_(); }

   private:
    BytePipe& pipe_;
  };

  void End(absl::Status status);

  PipeSink sink_;
  PipeSource source_;
  const std::optional<uint64_t> size_bytes_;
  const std::function<absl::Status()> check_;

  absl::Mutex mu_;
  absl::string_view pending_ ABSL_GUARDED_BY(mu_);        // the writer's, not read yet
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);  // OK: finished
  bool closed_ ABSL_GUARDED_BY(mu_) = false;              // by the reader
};

}  // namespace ballast::client
