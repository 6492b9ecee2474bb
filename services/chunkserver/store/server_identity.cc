// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/store/server_identity.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/types/error.h"
#include "services/chunkserver/store/chunk_store.h"

namespace ballast::chunkserver {
namespace {

constexpr absl::string_view kIdentityTitle = "ballast chunk server, format 1\n";
constexpr absl::string_view kEpochTitle = "ballast boot epoch, format 1\n";
constexpr uint64_t kSmallFileBytesMax = KiB(4);
// 65536 shards with 20 bytes each, and the frame.
constexpr uint64_t kFenceFileBytesMax = MiB(2);

std::string IdentityPath(const std::string& folder) { return JoinPath(folder, "identity"); }
std::string EpochPath(const std::string& folder) { return JoinPath(folder, "boot_epoch"); }
std::string FencesPath(const std::string& folder) { return JoinPath(folder, "fences"); }
std::string LockPath(const std::string& folder) { return JoinPath(folder, "lock"); }

// Small files are text that a person can read, closed by a checksum line.
std::string Seal(absl::string_view body) {
  return absl::StrCat(body, "crc32c ", absl::StrFormat("%08x", ComputeCrc32c(body).value), "\n");
}

// The lines between title and checksum.
absl::StatusOr<std::vector<std::string>> Unseal(const std::string& path, absl::string_view title,
                                                absl::string_view content) {
  const size_t seal_at = content.rfind("crc32c ");
  if (!absl::StartsWith(content, title) || seal_at == absl::string_view::npos ||
      Seal(content.substr(0, seal_at)) != content) {
    return absl::DataLossError(absl::StrCat(path, " is damaged"));
  }
  const absl::string_view body = content.substr(title.size(), seal_at - title.size());
  return std::vector<std::string>(absl::StrSplit(body, '\n', absl::SkipEmpty()));
}

std::string EpochContent(uint64_t epoch) {
  return Seal(absl::StrCat(kEpochTitle, "boot_epoch ", epoch, "\n"));
}

// OK if the folder holds nothing but what an interrupted format can have left.
absl::Status CheckFormattable(FileSystem& fs, const std::string& folder) {
  static constexpr std::array<absl::string_view, 8> kOwn = {
      "chunks", "staging", "quarantine",     "boot_epoch",
      "fences", "lock",    "boot_epoch.tmp", "fences.tmp"};
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs.List(folder));
  for (const std::string& name : names) {
    if (name == "identity") {
      return absl::AlreadyExistsError(absl::StrCat(folder, " is formatted already"));
    }
    if (std::find(kOwn.begin(), kOwn.end(), name) == kOwn.end() &&
        !absl::StartsWith(name, "identity.")) {
      return absl::FailedPreconditionError(absl::StrCat(folder, " is not empty: it holds ", name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FormatFolder(FileSystem& fs, const std::string& folder, absl::string_view cluster_id,
                          absl::string_view server_id) {
  if (!IsUuid(cluster_id) || !IsUuid(server_id)) {
    return InvalidArgument("cluster id and server id must be UUIDs in lower case");
  }
  RETURN_IF_ERROR(fs.CreateDir(folder));
  RETURN_IF_ERROR(CheckFormattable(fs, folder));
  ASSIGN_OR_RETURN(const std::unique_ptr<FileLock> lock, fs.Lock(LockPath(folder)));
  RETURN_IF_ERROR(fs.SyncDir(ParentPath(folder)));
  const StoreLayout layout(folder);
  RETURN_IF_ERROR(fs.CreateDir(layout.ChunksFolder()));
  RETURN_IF_ERROR(fs.CreateDir(layout.StagingFolder()));
  RETURN_IF_ERROR(fs.CreateDir(layout.QuarantineFolder()));
  RETURN_IF_ERROR(WriteFileAtomically(fs, EpochPath(folder), EpochContent(0)));
  RETURN_IF_ERROR(WriteFileAtomically(fs, FencesPath(folder), FenceTable().Encode()));
  RETURN_IF_ERROR(fs.SyncDir(folder));
  return WriteFileAtomically(fs, IdentityPath(folder),
                             Seal(absl::StrCat(kIdentityTitle, "server_id ", server_id,
                                               "\ncluster_id ", cluster_id, "\n")));
}

absl::StatusOr<std::unique_ptr<ServerIdentity>> ServerIdentity::Open(FileSystem& fs,
                                                                     const std::string& folder) {
  ASSIGN_OR_RETURN(const bool formatted, fs.Exists(IdentityPath(folder)));
  if (!formatted) {
    return absl::NotFoundError(absl::StrCat(
        folder, " is not formatted; make it a chunk server's with: chunkserver format"));
  }
  std::unique_ptr<ServerIdentity> identity(new ServerIdentity(fs, folder));
  ASSIGN_OR_RETURN(identity->lock_, fs.Lock(LockPath(folder)));
  RETURN_IF_ERROR(identity->Read());
  ++identity->boot_epoch_;
  RETURN_IF_ERROR(WriteFileAtomically(fs, EpochPath(folder), EpochContent(identity->boot_epoch_)));
  return identity;
}

absl::Status ServerIdentity::Read() {
  const std::string path = IdentityPath(folder_);
  ASSIGN_OR_RETURN(const std::string content, ReadFile(fs_, path, kSmallFileBytesMax));
  ASSIGN_OR_RETURN(const std::vector<std::string> lines, Unseal(path, kIdentityTitle, content));
  for (const std::string& line : lines) {
    absl::string_view value = line;
    if (absl::ConsumePrefix(&value, "server_id ")) {
      server_id_ = std::string(value);
    } else if (absl::ConsumePrefix(&value, "cluster_id ")) {
      cluster_id_ = std::string(value);
    }
  }
  const std::string epoch_path = EpochPath(folder_);
  ASSIGN_OR_RETURN(const std::string epoch, ReadFile(fs_, epoch_path, kSmallFileBytesMax));
  ASSIGN_OR_RETURN(const std::vector<std::string> epoch_lines,
                   Unseal(epoch_path, kEpochTitle, epoch));
  absl::string_view number = epoch_lines.empty() ? "" : absl::string_view(epoch_lines.front());
  if (!IsUuid(server_id_) || !IsUuid(cluster_id_) || !absl::ConsumePrefix(&number, "boot_epoch ") ||
      !absl::SimpleAtoi(number, &boot_epoch_)) {
    return absl::DataLossError(absl::StrCat(folder_, ": identity or boot_epoch is incomplete"));
  }
  return absl::OkStatus();
}

absl::StatusOr<FenceTable> ServerIdentity::LoadFences() const {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(fs_, FencesPath(folder_), kFenceFileBytesMax));
  return FenceTable::Decode(bytes);
}

absl::Status ServerIdentity::StoreFences(absl::string_view encoded) {
  return WriteFileAtomically(fs_, FencesPath(folder_), encoded);
}

}  // namespace ballast::chunkserver
