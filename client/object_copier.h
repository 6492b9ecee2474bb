// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/object_reader.h"
#include "client/object_writer.h"

namespace ballast::client {

struct CopyOptions {
  uint32_t replicas = 0;  // wanted of the copy; 0: the cluster's default
  // Of the target. 0: it must not exist; n: its generation must be n.
  std::optional<uint64_t> if_generation_match;
  Cancellation* cancel = nullptr;
  Progress* progress = nullptr;
};

struct CopyResult {
  uint64_t source_generation = 0;  // the one that was copied
  PutResult put;
};

// Copies an object within the cluster: bytes and user metadata, through this process. It reads
// while it writes and holds no more than a Get into a pipe and a Put from one.
//
// Guarantees: the target is one generation of the source, bytes and metadata alike, or nothing
// changed. A source that is replaced meanwhile is read to the end within its grace period; one that
// was replaced just before the reading began is begun anew, three times at most. Concurrency:
// thread-safe; one thread beside those of the Get and the Put, for as long as it lasts. Ownership:
// reader and writer outlive it. Failure: INVALID_ARGUMENT (source and target are the same), the
// reader's and the writer's errors.
class ObjectCopier {
 public:
  ObjectCopier(MetadataClient& metadata, ObjectReader& reader, ObjectWriter& writer)
      : metadata_(metadata), reader_(reader), writer_(writer) {}

  absl::StatusOr<CopyResult> Copy(const std::string& source, const std::string& target,
                                  const CopyOptions& copy, uint64_t inline_bytes);

 private:
  // ABORTED / GENERATION_GONE if the source was replaced after `object` was learned.
  absl::StatusOr<CopyResult> TryCopy(const v1::ObjectInfo& object, const std::string& target,
                                     const CopyOptions& copy, uint64_t inline_bytes);

  MetadataClient& metadata_;
  ObjectReader& reader_;
  ObjectWriter& writer_;
};

}  // namespace ballast::client
