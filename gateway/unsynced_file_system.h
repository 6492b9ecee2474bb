// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/env/file_system.h"

namespace ballast::gateway {

// A file system for folders that die with their process: everything goes to `base`, but nothing is
// synced and space is not reserved (Allocate only sets the length). The embedded cluster's folder
// is removed when the gateway ends, so the durability that servers ask for would buy nothing and
// cost milliseconds a message.
//
// Never use it for a folder that anybody opens again: what servers call durable here is not.
// Concurrency, failure: as `base`, which must outlive it and its files.
class UnsyncedFileSystem final : public FileSystem {
 public:
  explicit UnsyncedFileSystem(FileSystem& base) : base_(base) {}

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return base_.Rename(from, to);
  }
  absl::Status RenameExclusive(const std::string& from, const std::string& to) override {
    return base_.RenameExclusive(from, to);
  }
  absl::Status Remove(const std::string& path) override { return base_.Remove(path); }
  absl::Status CreateDir(const std::string& path) override { return base_.CreateDir(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    return base_.List(path);
  }
  absl::StatusOr<bool> Exists(const std::string& path) override { return base_.Exists(path); }
  absl::StatusOr<uint64_t> FileSize(const std::string& path) override {
    return base_.FileSize(path);
  }
  absl::Status SyncDir(const std::string&) override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return base_.Lock(path);
  }
  absl::StatusOr<SpaceInfo> Space(const std::string& path) override { return base_.Space(path); }

 private:
  FileSystem& base_;
};

}  // namespace ballast::gateway
