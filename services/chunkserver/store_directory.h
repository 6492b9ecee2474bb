// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/chunkserver/store/chunk_store.h"

namespace ballast::chunkserver {

// One chunk server as its data service sees it.
struct ServedStore {
  std::string server_id;
  uint64_t boot_epoch = 0;
  ChunkStore* store = nullptr;
};

// The chunk servers behind one endpoint: usually one; a gateway hosts many.
//
// Guarantees: what Find has returned stays valid and unchanged for the directory's lifetime;
// servers are added, never removed. Concurrency: thread-safe, does not block. Lifetime: the stores
// outlive all use of what Find returned.
class StoreDirectory {
 public:
  StoreDirectory() = default;
  explicit StoreDirectory(ServedStore only) { Add(std::move(only)); }

  // False if a server of this id is there already; nothing is changed then.
  bool Add(ServedStore served);

  // The server of this id.
  //   NOT_FOUND / UNKNOWN_SERVER   it is not behind this endpoint
  absl::StatusOr<const ServedStore*> Find(absl::string_view server_id) const;

  // The same; an empty id means the only server there is.
  //   INVALID_ARGUMENT             an empty id, and several servers
  absl::StatusOr<const ServedStore*> FindOrOnly(absl::string_view server_id) const;

 private:
  mutable absl::Mutex mu_;
  std::map<std::string, ServedStore, std::less<>> served_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::chunkserver
