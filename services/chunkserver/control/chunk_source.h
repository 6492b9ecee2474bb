// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/crc32c.h"
#include "common/types/ids.h"
#include "protos/common.pb.h"

// Where the bytes of a copy come from: the seam between the copier and the network.

namespace ballast::chunkserver {

// One message of a source: whole blocks with their checksums as it sent them, nothing verified.
struct SourceMessage {
  uint64_t offset_bytes = 0;
  std::vector<Crc32c> blocks;
  std::vector<absl::string_view> pieces;  // together the data; valid while `owner` is kept
  std::shared_ptr<const void> owner;
};

struct SourceEvents {
  // One for each Next, unless the stream ends instead.
  absl::AnyInvocable<void(SourceMessage)> on_message;
  // Once, last, always: OK if the source has sent all there is. Afterwards the stream holds
  // nothing.
  absl::AnyInvocable<void(absl::Status)> on_end;
};

// A chunk on its way from one source.
//
// Concurrency: thread-safe, does not block. Events come one at a time, on any thread, never from
// inside a call of a method or of Open. Lifetime: lives on until on_end has returned.
class SourceStream {
 public:
  virtual ~SourceStream() = default;

  // Asks for the next message. Not before the one asked for last has come, nor after the end.
  virtual void Next() = 0;

  // Ends the stream soon. Idempotent, and allowed at any time.
  virtual void Cancel() = 0;

  // The connection has served another call before, so it may have died unnoticed.
  virtual bool on_idle_connection() const = 0;
};

struct SourceRequest {
  v1::ReplicaLocation source;
  ChunkHandle handle;
  v1::TrafficClass traffic = v1::TRAFFIC_CLASS_UNSPECIFIED;
  uint64_t message_bytes = 0;   // of data, at most; whole blocks
  bool new_connection = false;  // idle ones to this address are not to be trusted
  absl::Duration timeout = absl::InfiniteDuration();  // of the whole stream
};

class ChunkSources {
 public:
  virtual ~ChunkSources() = default;
  // Begins to read the chunk from its front to its end. Never fails: what is wrong comes as on_end.
  virtual std::shared_ptr<SourceStream> Open(const SourceRequest& request, SourceEvents events) = 0;
};

}  // namespace ballast::chunkserver
