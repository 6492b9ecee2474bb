// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ballast::client {

// Where a Get puts the bytes of the range it reads. Offsets count from the start of that range.
//
// An *unordered* sink takes them at any offset, from several threads at once, and may be given the
// same part again (a replica turned out bad late); the last one counts. Any other gets them
// once, from front to back, one call at a time.
//
// Bytes that a sink is given have passed their block checksums. Only after Finish was all of it
// right and complete; a sink that can wait shows nothing before.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual bool unordered() const = 0;
  virtual absl::Status WriteAt(uint64_t offset, absl::string_view bytes) = 0;
  // All bytes were given and are right. Not called after a failure: the destructor then leaves
  // nothing behind where that is possible.
  virtual absl::Status Finish() { return absl::OkStatus(); }
};

// Writes to a new file beside `path` and renames it to `path` in Finish; without Finish nothing is
// left and an existing file stays as it was. If `path` is no regular file but a device or a pipe,
// the bytes are written straight into it, in order. Not fsynced.
//   PERMISSION_DENIED, NOT_FOUND (the folder), INVALID_ARGUMENT (a folder): the text names the path
absl::StatusOr<std::unique_ptr<Sink>> CreateFileSink(const std::string& path);

// Writes to an open descriptor, in order; it stays the caller's.
std::unique_ptr<Sink> MakeDescriptorSink(int fd, const std::string& name);

// Appends to `out`, which must outlive it; RESOURCE_EXHAUSTED beyond `bytes_max`.
std::unique_ptr<Sink> MakeStringSink(std::string* out, uint64_t bytes_max);

// Hands the bytes to `write`, in order, one call at a time; its error ends the Get.
using WriteFunction = std::function<absl::Status(absl::string_view bytes)>;
std::unique_ptr<Sink> MakeCallbackSink(WriteFunction write);

}  // namespace ballast::client
