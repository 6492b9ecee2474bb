// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "services/chunkserver/store/chunk_store.h"
#include "services/chunkserver/store/recovery.h"
#include "services/chunkserver/store/server_identity.h"
#include "tests/support/mem_file_system.h"

namespace ballast::chunkserver {

inline constexpr char kCluster[] = "6f1c0c52-7b0e-4d0a-9a53-0d2b1f7c8e11";
inline constexpr char kOtherCluster[] = "00000000-7b0e-4d0a-9a53-0d2b1f7c8e11";
inline constexpr char kServer[] = "11111111-7b0e-4d0a-9a53-0d2b1f7c8e11";
inline constexpr char kFolder[] = "/cs";

inline std::string RandomBytes(size_t bytes, uint64_t seed) {
  Rng rng(seed);
  std::string out(bytes, '\0');
  for (size_t at = 0; at < bytes; at += 8) {
    const uint64_t word = rng.Next();
    out.replace(at, std::min<size_t>(8, bytes - at), reinterpret_cast<const char*>(&word),
                std::min<size_t>(8, bytes - at));
  }
  return out;
}

inline ChunkStoreOptions StoreOptions(uint64_t capacity = 0) {
  return ChunkStoreOptions{.folder = kFolder,
                           .cluster_id = kCluster,
                           .capacity_bytes = capacity,
                           .free_bytes_min = 0,
                           .open_files_max = 4,
                           .on_news = nullptr};
}

inline VerifiedBlocks Blocks(absl::string_view data) {
  std::vector<Crc32c> crcs;
  for (size_t at = 0; at < data.size(); at += kBlockBytes) {
    crcs.push_back(ComputeCrc32c(data.substr(at, kBlockBytes)));
  }
  return *VerifiedBlocks::Verify({data}, std::move(crcs));
}

// The whole life of one chunk's write, in messages of `step` bytes.
inline absl::Status WriteChunk(ChunkStore& store, ChunkHandle handle, absl::string_view data,
                               uint64_t hint = 0, size_t step = 4 * kBlockBytes) {
  ASSIGN_OR_RETURN(const auto writer, store.StartWrite(handle, hint));
  for (size_t at = 0; at < data.size(); at += step) {
    RETURN_IF_ERROR(writer->Append(Blocks(data.substr(at, step))));
  }
  RETURN_IF_ERROR(writer->Prepare(data.size(), ComputeCrc32c(data)));
  return writer->Commit();
}

inline absl::StatusOr<std::string> ReadWhole(ChunkStore& store, ChunkHandle handle) {
  ASSIGN_OR_RETURN(const auto chunk, store.Open(handle));
  std::string out(chunk->header.blocks.size() * kBlockBytes, '\0');
  ASSIGN_OR_RETURN(const size_t got,
                   store.ReadBlocks(*chunk, 0, chunk->header.blocks.size(), out.data()));
  out.resize(got);
  return out;
}

// A store on `fs`, recovered; the folder must be formatted.
inline absl::StatusOr<std::unique_ptr<ChunkStore>> OpenStore(FileSystem& fs,
                                                             uint64_t capacity = 0) {
  auto store = std::make_unique<ChunkStore>(fs, StoreOptions(capacity));
  RETURN_IF_ERROR(RecoverChunks(*store, nullptr).status());
  return store;
}

// Calls `on_open` before each chunk file is opened, which fails if that does.
class HookedFileSystem final : public FileSystem {
 public:
  HookedFileSystem(FileSystem& fs, std::function<absl::Status()> on_open)
      : fs_(fs), on_open_(std::move(on_open)) {}

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    if (path.find("/chunks/") != std::string::npos) {
      RETURN_IF_ERROR(on_open_());
    }
    return fs_.Open(path, mode);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return fs_.Rename(from, to);
  }
  absl::Status RenameExclusive(const std::string& from, const std::string& to) override {
    return fs_.RenameExclusive(from, to);
  }
  absl::Status Remove(const std::string& path) override { return fs_.Remove(path); }
  absl::Status CreateDir(const std::string& path) override { return fs_.CreateDir(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    return fs_.List(path);
  }
  absl::StatusOr<bool> Exists(const std::string& path) override { return fs_.Exists(path); }
  absl::StatusOr<uint64_t> FileSize(const std::string& path) override { return fs_.FileSize(path); }
  absl::Status SyncDir(const std::string& path) override { return fs_.SyncDir(path); }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return fs_.Lock(path);
  }
  absl::StatusOr<SpaceInfo> Space(const std::string& path) override { return fs_.Space(path); }

 private:
  FileSystem& fs_;
  const std::function<absl::Status()> on_open_;
};

}  // namespace ballast::chunkserver
