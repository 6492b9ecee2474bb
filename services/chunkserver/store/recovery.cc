// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/store/recovery.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast::chunkserver {
namespace {

constexpr uint64_t kProblemsLogged = 20;

// What the threads of one scan share. Thread-safe; kept by each of them.
class SharedScan {
 public:
  SharedScan(ChunkStore& store_in, const std::atomic<bool>* stop) : store(store_in), stop_(stop) {}

  ChunkStore& store;

  // What is wrong with single files: the first few are logged.
  void Problem(const std::string& path, absl::string_view what) {
    if (problems_.fetch_add(1) < kProblemsLogged) {
      LogWarning("recovery.problem", {{"file", path}, {"what", what}});
    }
  }

  bool stopped() const { return stop_ != nullptr && stop_->load(); }

  void SetFolders(std::vector<std::string> folders) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    folders_ = std::move(folders);
  }
  // Begins or goes on: the next folder; none if all are given out or the scan has failed. Who gets
  // one must say Finished.
  std::optional<std::string> Next() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (next_ == folders_.size() || !status_.ok()) {
      return std::nullopt;
    }
    ++running_;
    return folders_[next_++];
  }
  void Finished(const absl::Status& status, const RecoveryReport& found) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    --running_;
    if (status_.ok()) {
      status_ = status;
    }
    report_.chunks += found.chunks;
    report_.corrupt += found.corrupt;
    report_.quarantined += found.quarantined;
    report_.unknown_version += found.unknown_version;
    report_.unreadable += found.unreadable;
    report_.strays += found.strays;
  }
  // Blocks until all folders that were given out are finished. No others are given out then.
  absl::StatusOr<RecoveryReport> Await() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return running_ == 0; };
    mu_.Await(absl::Condition(&idle));
    next_ = folders_.size();
    if (!status_.ok()) {
      return status_;
    }
    return report_;
  }

 private:
  const std::atomic<bool>* const stop_;
  std::atomic<uint64_t> problems_{0};
  absl::Mutex mu_;
  std::vector<std::string> folders_ ABSL_GUARDED_BY(mu_);
  size_t next_ ABSL_GUARDED_BY(mu_) = 0;
  size_t running_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mu_);  // the first failure
  RecoveryReport report_ ABSL_GUARDED_BY(mu_);
};

// One folder, or what is beside the folders; one thread.
class Scan {
 public:
  explicit Scan(SharedScan& shared)
      : shared_(shared),
        store_(shared.store),
        fs_(shared.store.file_system()),
        layout_(shared.store.layout()) {}

  const RecoveryReport& report() const { return report_; }

  absl::Status ScanFolder(const std::string& digits) {
    const std::string folder = JoinPath(layout_.ChunksFolder(), digits);
    uint64_t number = 0;
    if (!absl::SimpleHexAtoi(digits, &number) ||
        layout_.ChunkFolder(ChunkHandle(number)) != folder) {
      ++report_.strays;
      Problem(folder, "no folder of chunks has such a name");
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.List(folder));
    for (const std::string& name : names) {
      if (shared_.stopped()) {
        return absl::CancelledError("the start-up scan was stopped");
      }
      ScanFile(folder, name);
    }
    return absl::OkStatus();
  }

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

 private:
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

  void Problem(const std::string& path, absl::string_view what) { shared_.Problem(path, what); }

  SharedScan& shared_;
  ChunkStore& store_;
  FileSystem& fs_;
  const StoreLayout& layout_;
  RecoveryReport report_;
  uint64_t file_bytes_ = 0;  // of the file whose prefix was read last
};

// A folder a task, so that other work of the same threads comes in between.
void Help(const std::shared_ptr<SharedScan>& shared, const std::function<void(Task)>& post) {
  const std::optional<std::string> folder = shared->Next();
  if (!folder.has_value()) {
    return;
  }
  Scan scan(*shared);
  const absl::Status status = scan.ScanFolder(*folder);
  // Before Finished: nothing is posted after the scan has ended.
  post([shared, post] { Help(shared, post); });
  shared->Finished(status, scan.report());
}

void ScanFolders(SharedScan& shared) {
  while (const std::optional<std::string> folder = shared.Next()) {
    Scan scan(shared);
    const absl::Status status = scan.ScanFolder(*folder);
    shared.Finished(status, scan.report());
  }
}

}  // namespace

absl::StatusOr<RecoveryReport> RecoverChunks(ChunkStore& store, const std::atomic<bool>* stop,
                                             size_t helpers,
                                             const std::function<void(Task)>& post) {
  const auto shared = std::make_shared<SharedScan>(store, stop);
  Scan staging(*shared);
  RETURN_IF_ERROR(staging.RemoveStaging());
  ASSIGN_OR_RETURN(std::vector<std::string> folders,
                   store.file_system().List(store.layout().ChunksFolder()));
  shared->SetFolders(std::move(folders));
  for (size_t i = 0; i < helpers; ++i) {
    post([shared, post] { Help(shared, post); });
  }
  ScanFolders(*shared);
  ASSIGN_OR_RETURN(RecoveryReport report, shared->Await());
  report.staging_removed = staging.report().staging_removed;
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
