// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "common/raft/snapshot_store.h"
#include "common/raft/wal.h"

namespace ballast {

// The part of a RaftLog that blocks; used by one disk task at a time.
struct RaftDisk {
  std::unique_ptr<Wal> wal;
  SnapshotStore snapshots;
};

}  // namespace ballast
