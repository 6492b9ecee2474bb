// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/rng.h"
#include "common/env/file_system.h"

namespace ballast::testing {

// A disk in memory, the twin of FileSystem, that remembers what was synced. Crash() is a power
// loss: of each file's unsynced writes an arbitrary subset survives, each possibly torn at a
// 512-byte boundary; of each folder's unsynced creations, renames and removals an arbitrary subset
// of those since its last SyncDir survives, every rename staying atomic. File contents and names
// are independent: a surviving name may show none of its unsynced bytes.
//
// Faults: FailAfter (a crash point: the n-th mutating operation and all later ones fail, nothing
// reaches the disk), SetSpace (disk full), FlipBit, FailSyncs.
//
// Paths are plain strings; "/" exists from the start; parents must exist. Thread-safe.
class MemFileSystem final : public FileSystem {
 public:
  MemFileSystem();
  ~MemFileSystem() override;

  // --- FileSystem ---
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status RenameExclusive(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status CreateDir(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::StatusOr<bool> Exists(const std::string& path) override;
  absl::StatusOr<uint64_t> FileSize(const std::string& path) override;
  absl::Status SyncDir(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;
  absl::StatusOr<SpaceInfo> Space(const std::string& path) override;

  // --- faults ---
  // Power loss now. Open files and locks become dead: every later call on them fails. Faults set by
  // FailAfter and FailSyncs are cleared, space limits stay. With a null rng nothing unsynced
  // survives (the harshest plain case).
  void Crash(Rng* rng);

  // The process that used the disk has ended, the machine has not: open files and locks become dead
  // as in Crash, and its faults are cleared, but nothing is lost.
  void EndProcess();

  // What a power loss now would surely leave of this file: its synced bytes, if its name is synced.
  // None if there is no such name on the disk, or its removal is not synced yet (it may come back).
  std::optional<std::string> DurableContent(const std::string& path) const;

  // Mutating operations so far (writes, syncs, truncations, allocations, creations, renames,
  // removals, folder creations and syncs): the crash points of a run.
  uint64_t operations() const;

  // The `n`-th mutating operation from now (1 = the next) and all later ones fail with DATA_LOSS
  // and change nothing, until Crash(). Crash point enumeration: for n = 1, 2, ...: run, Crash,
  // recover.
  void FailAfter(uint64_t n);
  // True once an operation was refused because of FailAfter.
  bool failed() const;

  // Syncs of files whose path contains `part` fail with DATA_LOSS from now on; empty: none.
  void FailSyncs(const std::string& part);

  // Called before each mutating operation with its description ("write /a/b 4096+512"), for tests
  // that want to act at a step. Not called with internal locks held. Null: none.
  void SetObserver(std::function<void(const std::string&)> observer);

  // Capacity for file bytes; writes beyond it fail with RESOURCE_EXHAUSTED.
  void SetSpace(uint64_t capacity_bytes);

  // Inverts one bit of a file as it is now, behind everybody's back (bit rot).
  absl::Status FlipBit(const std::string& path, uint64_t byte, int bit);

  // All file paths, sorted.
  std::vector<std::string> Files() const;

 private:
  struct Node;
  class MemFile;
  class MemLock;
  struct Change;

  absl::Status Begin(const std::string& what) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status RenameImpl(const std::string& from, const std::string& to, bool exclusive);
  std::shared_ptr<Node> Find(const std::string& path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::shared_ptr<Node> Create(const std::string& path, bool folder)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status IsFolder(absl::string_view verb, const std::string& path) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MakeDurable(const Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t UsedBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  using Names = std::map<std::string, std::shared_ptr<Node>>;

  mutable absl::Mutex mu_;
  Names names_ ABSL_GUARDED_BY(mu_);          // path -> node, as the running system sees it
  Names durable_names_ ABSL_GUARDED_BY(mu_);  // as after a crash, without the pending changes
  std::vector<Change> pending_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> locks_ ABSL_GUARDED_BY(mu_);
  uint64_t operations_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t generation_ ABSL_GUARDED_BY(mu_) = 0;  // grows at every crash; older handles are dead
  std::optional<uint64_t> fail_at_ ABSL_GUARDED_BY(mu_);
  bool failed_ ABSL_GUARDED_BY(mu_) = false;
  std::string failing_syncs_ ABSL_GUARDED_BY(mu_);
  uint64_t capacity_bytes_ ABSL_GUARDED_BY(mu_) = uint64_t{1} << 40;
  std::function<void(const std::string&)> observer_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::testing
