// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "common/env/executor.h"
#include "services/chunkserver/store/chunk_store.h"

namespace ballast::chunkserver {

// What the start-up scan found.
struct RecoveryReport {
  uint64_t chunks = 0;           // adopted, corrupt ones included
  uint64_t corrupt = 0;          // header or length damaged: kept, reported, not served
  uint64_t quarantined = 0;      // of another cluster, or under a wrong name: moved to quarantine/
  uint64_t unknown_version = 0;  // written by a newer build: left alone, not served
  uint64_t unreadable = 0;       // could not be opened or read: left alone, not served
  uint64_t strays = 0;           // names that are no chunk's: left alone
  uint64_t staging_removed = 0;  // left over from writes that never committed
};

// Rebuilds the store's index from its folder: removes what unfinished writes left, reads the header
// of every chunk file, adopts what is this cluster's and begins to serve. Data are not read: chunks
// start unverified. What is wrong with single files never fails it; the first few are logged, all
// are counted.
//
// Blocks for the whole scan. `stop` (may be null) ends it early with CANCELLED. Several folders are
// scanned at a time: by this thread, and by up to `helpers` tasks at a time, one for each folder,
// that are posted to `post`. That may run them late or never; what has not begun at the end of the
// scan does nothing any more, and nothing is posted then.
// Failure: a folder that cannot be listed, with the file system's status; then the store does not
// serve.
absl::StatusOr<RecoveryReport> RecoverChunks(ChunkStore& store, const std::atomic<bool>* stop,
                                             size_t helpers = 0,
                                             const std::function<void(Task)>& post = nullptr);

}  // namespace ballast::chunkserver
