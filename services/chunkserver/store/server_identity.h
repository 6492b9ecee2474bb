// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/env/file_system.h"
#include "services/chunkserver/core/fence_table.h"

namespace ballast::chunkserver {

// Makes a new, empty chunk server in `folder`, which is created if missing (its parent must exist):
// the sub-folders, epoch 0, no fences, and last the identity, so that a crash leaves an unformatted
// folder that can be formatted again. Durable on return.
//   ALREADY_EXISTS        the folder is formatted
//   FAILED_PRECONDITION   it holds something else, or a process is using it
//   INVALID_ARGUMENT      the ids are no UUIDs
absl::Status FormatFolder(FileSystem& fs, const std::string& folder, absl::string_view cluster_id,
                          absl::string_view server_id);

// Who this process is: holds the folder's lock until destroyed.
//
// Guarantees: at most one process has a folder open; boot_epoch() is durable, and higher than in
// all earlier successful opens of it. Concurrency: thread-safe but for StoreFences, which its one
// caller serialises.
class ServerIdentity {
 public:
  // Locks the folder, reads who it is and counts the start.
  //   NOT_FOUND             unformatted
  //   FAILED_PRECONDITION   another process has it
  //   DATA_LOSS             a file of it is damaged; the folder is not to be used
  static absl::StatusOr<std::unique_ptr<ServerIdentity>> Open(FileSystem& fs,
                                                              const std::string& folder);

  const std::string& server_id() const { return server_id_; }
  const std::string& cluster_id() const { return cluster_id_; }
  uint64_t boot_epoch() const { return boot_epoch_; }

  // The fence pairs as last stored. DATA_LOSS if the file is damaged.
  absl::StatusOr<FenceTable> LoadFences() const;
  // Durable on return.
  absl::Status StoreFences(absl::string_view encoded);

 private:
  ServerIdentity(FileSystem& fs, std::string folder) : fs_(fs), folder_(std::move(folder)) {}
  absl::Status Read();

  FileSystem& fs_;
  const std::string folder_;
  std::unique_ptr<FileLock> lock_;
  std::string server_id_;
  std::string cluster_id_;
  uint64_t boot_epoch_ = 0;
};

}  // namespace ballast::chunkserver
