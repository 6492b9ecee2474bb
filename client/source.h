// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cancellation.h"

namespace ballast::client {

// Where a Put takes its bytes from.
//
// A *rereadable* source knows its size and gives the same bytes at any offset, from several threads
// at once. Any other is read once from front to back: offsets then continue each other, one call at
// a time.
class Source {
 public:
  virtual ~Source() = default;

  virtual bool rereadable() const = 0;

  // Known beforehand; always for rereadable sources.
  virtual std::optional<uint64_t> size_bytes() const = 0;

  // Up to `bytes` at `offset`; fewer, 0 included, only at the end. May block; CANCELLED soon after
  // `stop` is cancelled. Other errors end the Put and are returned by it as they are.
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t bytes,
                                        const Cancellation& stop) = 0;

  // Called before the commit: an error if what was read may be no single state of the data.
  virtual absl::Status CheckUnchanged() { return absl::OkStatus(); }
};

// A regular file is rereadable, anything else that can be read (a pipe, a device) is read once.
// CheckUnchanged: FAILED_PRECONDITION if length or modification time changed since this call.
//   NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT (a folder): the text names the path
absl::StatusOr<std::unique_ptr<Source>> OpenFileSource(const std::string& path);

// Reads an open descriptor, which stays the caller's. `name` is for messages.
absl::StatusOr<std::unique_ptr<Source>> MakeDescriptorSource(int fd, const std::string& name);

// Bytes in memory, which must outlive the source.
std::unique_ptr<Source> MakeStringSource(absl::string_view bytes);

// `read` fills up to `bytes` at `out` and returns how many, fewer only at the end. Called from one
// thread at a time, not always the same; not interrupted by cancellation.
using ReadFunction = std::function<absl::StatusOr<size_t>(char* out, size_t bytes)>;
std::unique_ptr<Source> MakeCallbackSource(ReadFunction read);

}  // namespace ballast::client
