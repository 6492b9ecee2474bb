// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

// Pipes, files and terminals as a filter program sees them.

namespace ballast::gateway {

// A request to stop that wakes whoever waits for input. Set once, by any thread.
class StopEvent {
 public:
  StopEvent();
  ~StopEvent();
  StopEvent(const StopEvent&) = delete;
  StopEvent& operator=(const StopEvent&) = delete;

  void Set();
  bool IsSet() const;
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Reads a descriptor without changing its flags, which other processes may share.
// One thread. Does not own the descriptor.
class InputStream {
 public:
  InputStream(int fd, const StopEvent& stop) : fd_(fd), stop_(stop) {}

  enum class Ready { kInput, kStopped, kTimeout };
  // Waits until there is something to read (the end included). Infinite: no timeout.
  Ready Wait(absl::Duration timeout);
  // Reads what there is. 0: the end.
  absl::StatusOr<size_t> Read(absl::Span<char> buffer);

 private:
  const int fd_;
  const StopEvent& stop_;
};

// Gathers lines and writes them out. One thread. Does not own the descriptor.
class OutputStream {
 public:
  explicit OutputStream(int fd) : fd_(fd) {}

  void Append(absl::string_view bytes) { waiting_.append(bytes.data(), bytes.size()); }
  size_t waiting() const { return waiting_.size(); }
  // Writes all out; blocks while nobody reads. UNAVAILABLE: nobody ever will (EPIPE and so on), and
  // all later ones fail too. SIGPIPE must be ignored.
  absl::Status Flush();

 private:
  const int fd_;
  std::string waiting_;
  absl::Status failed_;
};

// Whether a line written to this descriptor now would not have to wait.
bool HasRoom(int fd);

// Opens /dev/null in place of those of 0, 1 and 2 that are closed, so that no socket takes their
// numbers. First thing in main.
void OccupyStandardDescriptors();

}  // namespace ballast::gateway
