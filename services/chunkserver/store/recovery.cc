// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/store/recovery.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast::chunkserver {
namespace {

constexpr uint64_t kProblemsLogged = 20;

class Scan {
 public:
  Scan(ChunkStore& store, const std::atomic<bool>* stop)
      : store_(store), fs_(store.file_system()), layout_(store.layout()), stop_(stop) {}

  absl::StatusOr<RecoveryReport> Run() {
    RETURN_IF_ERROR(RemoveStaging());
    ASSIGN_OR_RETURN(const std::vector<std::string> folders, fs_.List(layout_.ChunksFolder()));
    for (const std::string& digits : folders) {
      const std::string folder = JoinPath(layout_.ChunksFolder(), digits);
      uint64_t number = 0;
      if (!absl::SimpleHexAtoi(digits, &number) ||
          layout_.ChunkFolder(ChunkHandle(number)) != folder) {
        ++report_.strays;
        Problem(folder, "no folder of chunks has such a name");
        continue;
      }
      ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.List(folder));
      for (const std::string& name : names) {
        if (stop_ != nullptr && stop_->load()) {
          return absl::CancelledError("the start-up scan was stopped");
        }
        ScanFile(folder, name);
      }
    }
    return report_;
  }

 private:
  // Whatever is there was never acknowledged.
  absl::Status RemoveStaging() {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.List(layout_.StagingFolder()));
    for (const std::string& name : names) {
      const std::string path = JoinPath(layout_.StagingFolder(), name);
      if (const absl::Status removed = fs_.Remove(path); !removed.ok()) {
        Problem(path, removed.message());
      } else {
        ++report_.staging_removed;
      }
    }
    return absl::OkStatus();
  }

  void ScanFile(const std::string& folder, const std::string& name) {
    const std::string path = JoinPath(folder, name);
    uint64_t value = 0;
    if (name.size() != 16 || !absl::SimpleHexAtoi(name, &value) ||
        ChunkHandle(value).ToString() != name || value == 0) {
      ++report_.strays;
      Problem(path, "no chunk has such a name");
      return;
    }
    const ChunkHandle handle(value);
    const absl::StatusOr<std::string> prefix = ReadPrefix(path);
    if (!prefix.ok()) {
      ++report_.unreadable;
      Problem(path, prefix.status().message());
      return;
    }
    const absl::StatusOr<ChunkHeader> header = DecodeChunkPrefix(*prefix, file_bytes_);
    if (absl::IsFailedPrecondition(header.status())) {
      ++report_.unknown_version;
      Problem(path, header.status().message());
    } else if (!header.ok()) {
      AdoptCorrupt(handle, path, header.status().message());
    } else if (header->cluster_id != store_.cluster_id()) {
      Quarantine(path, name, absl::StrCat("it belongs to cluster ", header->cluster_id));
    } else if (header->handle != handle || layout_.ChunkFile(handle) != path) {
      Quarantine(path, name,
                 absl::StrCat("it is chunk ", header->handle.ToString(), " under a wrong name"));
    } else {
      Adopt(handle, ReplicaFacts{.length_bytes = header->length_bytes,
                                 .crc32c = header->crc32c,
                                 .state = ReplicaState::kUnverified});
    }
  }

  absl::StatusOr<std::string> ReadPrefix(const std::string& path) {
    ASSIGN_OR_RETURN(const std::unique_ptr<File> file, fs_.Open(path, OpenMode::kRead));
    ASSIGN_OR_RETURN(file_bytes_, file->Size());
    std::string prefix(kChunkPrefixBytes, '\0');
    ASSIGN_OR_RETURN(const size_t got, file->ReadAt(0, prefix.size(), prefix.data()));
    prefix.resize(got);
    return prefix;
  }

  // Reported, so that the masters repair it from elsewhere. Its true length and checksum are lost.
  void AdoptCorrupt(ChunkHandle handle, const std::string& path, absl::string_view why) {
    if (layout_.ChunkFile(handle) != path) {
      ++report_.strays;
      Problem(path, why);
      return;
    }
    const uint64_t data = file_bytes_ > kChunkPrefixBytes ? file_bytes_ - kChunkPrefixBytes : 0;
    ++report_.corrupt;
    Adopt(handle,
          ReplicaFacts{.length_bytes = static_cast<uint32_t>(std::min(data, kChunkBytesMax)),
                       .crc32c = Crc32c{},
                       .state = ReplicaState::kCorrupt});
    Problem(path, why);
  }

  void Adopt(ChunkHandle handle, const ReplicaFacts& facts) {
    if (store_.Adopt(handle, facts)) {
      ++report_.chunks;
    }
  }

  void Quarantine(const std::string& path, const std::string& name, absl::string_view why) {
    ++report_.quarantined;
    Problem(path, why);
    const std::string to = JoinPath(layout_.QuarantineFolder(), name);
    if (const absl::Status moved = fs_.RenameExclusive(path, to); !moved.ok()) {
      Problem(path, moved.message());
    }
  }

  void Problem(const std::string& path, absl::string_view what) {
    if (++problems_ <= kProblemsLogged) {
      LogWarning("recovery.problem", {{"file", path}, {"what", what}});
    }
  }

  ChunkStore& store_;
  FileSystem& fs_;
  const StoreLayout& layout_;
  const std::atomic<bool>* const stop_;
  RecoveryReport report_;
  uint64_t problems_ = 0;
  uint64_t file_bytes_ = 0;  // of the file whose prefix was read last
};

}  // namespace

absl::StatusOr<RecoveryReport> RecoverChunks(ChunkStore& store, const std::atomic<bool>* stop) {
  Scan scan(store, stop);
  ASSIGN_OR_RETURN(const RecoveryReport report, scan.Run());
  store.Serve();
  LogInfo("recovery.done", {{"chunks", report.chunks},
                            {"corrupt", report.corrupt},
                            {"quarantined", report.quarantined},
                            {"unknown_version", report.unknown_version},
                            {"unreadable", report.unreadable},
                            {"strays", report.strays},
                            {"staging_removed", report.staging_removed}});
  return report;
}

}  // namespace ballast::chunkserver
