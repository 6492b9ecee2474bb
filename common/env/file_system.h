// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The seam to the disk. Durability is explicit: nothing is durable until the verb that says so
// has returned OK. What a crash may leave otherwise: any subset of the unsynced writes of a file,
// each possibly torn at a 512-byte boundary, and any subset of the unsynced creations, renames and
// removals of a folder.
//
// Errors, all methods: NOT_FOUND (no such path), ALREADY_EXISTS, RESOURCE_EXHAUSTED (disk full or
// quota), FAILED_PRECONDITION (locked by another process), PERMISSION_DENIED, DATA_LOSS (the disk
// answered EIO), otherwise INTERNAL. Messages name the path. All methods block.
//
// After a failed Sync or SyncDir nothing may be assumed of what was written since the last good
// one, and a retry proves nothing: callers stop using that file.

namespace ballast {

// An open file. Different threads may read at once; writes and the rest are the caller's to order.
class File {
 public:
  virtual ~File() = default;  // closes; never fails, since nothing durable depends on it

  // Writes all of `data` at `offset`, extending the file where needed. On error any part of it may
  // have been written.
  virtual absl::Status WriteAt(uint64_t offset, absl::string_view data) = 0;

  // Reads up to `bytes` at `offset` into `out`; fewer only at the end of the file. Returns how
  // many.
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset, size_t bytes, char* out) = 0;

  // Makes the file's content and length durable (not its name: see SyncDir).
  virtual absl::Status Sync() = 0;

  // Starts writing dirty pages of [offset, offset + bytes) back without waiting: a hint that makes
  // a later Sync shorter. Never fails, promises nothing.
  virtual void StartWriteback(uint64_t offset, uint64_t bytes) = 0;

  virtual absl::Status Truncate(uint64_t bytes) = 0;

  // Reserves space so that later writes below `bytes` do not meet a full disk; the length becomes
  // at least `bytes`, new bytes read as zero.
  virtual absl::Status Allocate(uint64_t bytes) = 0;

  // Gives back the space of [offset, offset + bytes), which reads as zero and goes on doing so; the
  // length stays. A hint: never fails, promises nothing.
  virtual void ReleaseZeros(uint64_t /*offset*/, uint64_t /*bytes*/) {}

  virtual absl::StatusOr<uint64_t> Size() = 0;

  // Descriptor for readahead and sendfile, or -1 where there is none (simulated files).
  virtual int descriptor() const { return -1; }
};

// Holds an exclusive lock until destroyed. The lock ends with the process, however it ends.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

enum class OpenMode {
  kRead,             // must exist
  kReadWrite,        // must exist
  kCreate,           // created if missing; read and write
  kCreateExclusive,  // must not exist; read and write
};

struct SpaceInfo {
  uint64_t capacity_bytes = 0;  // of the whole file system
  uint64_t free_bytes = 0;      // free to this user
};

// Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) = 0;

  // Atomically replaces `to` if it exists. Durable after SyncDir of the folder(s).
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;

  // As Rename, but ALREADY_EXISTS if `to` exists, which is then untouched.
  virtual absl::Status RenameExclusive(const std::string& from, const std::string& to) = 0;

  virtual absl::Status Remove(const std::string& path) = 0;

  // Creates one folder; an existing folder is OK. Durable after SyncDir of its parent.
  virtual absl::Status CreateDir(const std::string& path) = 0;

  // Names (not paths) of the folder's entries, sorted.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& path) = 0;

  virtual absl::StatusOr<bool> Exists(const std::string& path) = 0;
  virtual absl::StatusOr<uint64_t> FileSize(const std::string& path) = 0;

  // Makes creations, renames and removals of this folder's entries durable.
  virtual absl::Status SyncDir(const std::string& path) = 0;

  // Creates `path` if missing and locks it; FAILED_PRECONDITION if a living process has it.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;

  virtual absl::StatusOr<SpaceInfo> Space(const std::string& path) = 0;
};

// --- helpers built on the seam ------------------------------------------------------------------

// The whole file; at most `bytes_max`, RESOURCE_EXHAUSTED beyond.
absl::StatusOr<std::string> ReadFile(FileSystem& fs, const std::string& path,
                                     uint64_t bytes_max = uint64_t{1} << 30);

// Replaces `path` by `data` so that after a crash it holds the old or the new content, whole:
// temporary file beside it, Sync, Rename, SyncDir. Durable on return.
absl::Status WriteFileAtomically(FileSystem& fs, const std::string& path, absl::string_view data);

// "a/b" from "a" and "b", "/b" from "/" and "b".
std::string JoinPath(absl::string_view folder, absl::string_view name);
// "a/b" of "a/b/c"; "." if there is no slash.
std::string ParentPath(absl::string_view path);

// The machine's file system; lives for ever.
FileSystem& PosixFileSystem();

}  // namespace ballast
