// SPDX-License-Identifier: Apache-2.0
#include "common/raft/snapshot_store.h"

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/raft/wal_format.h"
#include "common/raft/wire_bytes.h"
#include "common/types/limits.h"

namespace ballast {
namespace {

constexpr absl::string_view kMagic = "BLSTSNP1";
constexpr uint32_t kVersion = 1;
constexpr absl::string_view kManifestPrefix = "manifest-";
constexpr absl::string_view kImagePrefix = "image-";
constexpr size_t kImagesMax = kShardsMax + 1;

bool IsImageName(absl::string_view name) {
  return !name.empty() && name.size() <= kImageNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

std::string IdText(SnapshotId id) { return absl::StrFormat("%016x-%016x", id.index, id.term); }

// The snapshot that a file belongs to, by its name.
std::optional<SnapshotId> IdOf(absl::string_view name) {
  for (const absl::string_view prefix : {kManifestPrefix, kImagePrefix}) {
    if (!absl::StartsWith(name, prefix) || name.size() < prefix.size() + 33) {
      continue;
    }
    const absl::string_view text = name.substr(prefix.size());
    SnapshotId id;
    if (absl::SimpleHexAtoi(text.substr(0, 16), &id.index) &&
        absl::SimpleHexAtoi(text.substr(17, 16), &id.term) && absl::StartsWith(text, IdText(id))) {
      return id;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string EncodeManifest(const SnapshotManifest& manifest) {
  std::string out(kMagic);
  PutU32(&out, kVersion);
  PutU32(&out, manifest.group);
  PutU64(&out, manifest.id.index);
  PutU64(&out, manifest.id.term);
  PutBytes(&out, manifest.cluster_id);
  PutBytes(&out, manifest.configuration);
  PutU32(&out, static_cast<uint32_t>(manifest.files.size()));
  for (const SnapshotFile& file : manifest.files) {
    PutBytes(&out, file.name);
    PutU64(&out, file.bytes);
    PutU32(&out, file.crc.value);
  }
  PutU32(&out, ComputeCrc32c(out).value);
  return out;
}

absl::StatusOr<SnapshotManifest> DecodeManifest(absl::string_view data) {
  if (data.size() < kMagic.size() + 4 || data.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError("not a snapshot's manifest");
  }
  const absl::string_view covered = data.substr(0, data.size() - 4);
  ByteReader checksum(data.substr(covered.size()));
  if (ComputeCrc32c(covered).value != checksum.U32()) {
    return absl::DataLossError("manifest does not fit its checksum");
  }
  ByteReader in(covered.substr(kMagic.size()));
  const uint32_t version = in.U32();
  if (version != kVersion) {
    return absl::DataLossError(
        absl::StrCat("manifest of version ", version, "; this program knows version ", kVersion));
  }
  SnapshotManifest manifest;
  manifest.group = in.U32();
  manifest.id.index = in.U64();
  manifest.id.term = in.U64();
  manifest.cluster_id = std::string(in.Bytes(kClusterIdBytesMax));
  manifest.configuration = std::string(in.Bytes(kConfigurationBytesMax));
  const uint32_t count = in.U32();
  if (!in.ok() || count > kImagesMax || manifest.id.index == 0 || manifest.id.term == 0) {
    return absl::DataLossError("manifest of an impossible snapshot");
  }
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    SnapshotFile file;
    file.name = std::string(in.Bytes(kImageNameBytesMax));
    file.bytes = in.U64();
    file.crc.value = in.U32();
    if (!IsImageName(file.name) || file.bytes > kImageBytesMax ||
        (i > 0 && file.name <= manifest.files.back().name)) {
      return absl::DataLossError("manifest with an impossible image");
    }
    manifest.files.push_back(std::move(file));
  }
  if (!in.AtEnd()) {
    return absl::DataLossError("manifest of a wrong length");
  }
  return manifest;
}

std::string SnapshotStore::ManifestPath(SnapshotId id) const {
  return JoinPath(folder_, absl::StrCat(kManifestPrefix, IdText(id)));
}

std::string SnapshotStore::ImagePath(SnapshotId id, absl::string_view name) const {
  return JoinPath(folder_, absl::StrCat(kImagePrefix, IdText(id), "-", name));
}

absl::StatusOr<SnapshotManifest> SnapshotStore::Verify(SnapshotId id) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(fs_, ManifestPath(id), kManifestBytesMax));
  ASSIGN_OR_RETURN(SnapshotManifest manifest, DecodeManifest(bytes));
  if (manifest.id != id) {
    return absl::DataLossError("manifest under another snapshot's name");
  }
  RETURN_IF_ERROR(CheckOwner(manifest));
  for (const SnapshotFile& file : manifest.files) {
    RETURN_IF_ERROR(ReadImage(id, file).status());
  }
  return manifest;
}

absl::Status SnapshotStore::CheckOwner(const SnapshotManifest& manifest) const {
  if (manifest.cluster_id != owner_.cluster_id || manifest.group != owner_.group) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshot of group ", manifest.group, " of cluster ", manifest.cluster_id));
  }
  return manifest.configuration == owner_.configuration
             ? absl::OkStatus()
             : absl::FailedPreconditionError("snapshot of a group with other voters");
}

absl::StatusOr<SnapshotStore::Found> SnapshotStore::FindNewest() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.List(folder_));
  std::vector<SnapshotId> ids;
  for (const std::string& name : names) {
    const std::optional<SnapshotId> id = IdOf(name);
    if (id.has_value() && ManifestPath(*id) == JoinPath(folder_, name)) {
      ids.push_back(*id);
    }
  }
  std::sort(ids.rbegin(), ids.rend());
  Found found;
  for (const SnapshotId& id : ids) {
    absl::StatusOr<SnapshotManifest> manifest = Verify(id);
    if (manifest.ok()) {
      found.newest = *std::move(manifest);
      break;
    }
    found.unusable.push_back(absl::StrCat(ManifestPath(id), ": ", manifest.status().message()));
  }
  return found;
}

absl::StatusOr<SnapshotFile> SnapshotStore::WriteImage(SnapshotId id, const std::string& name,
                                                       absl::string_view image) {
  if (!IsImageName(name) || image.size() > kImageBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("image '", name, "' of ", image.size(), " bytes cannot be in a snapshot"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, fs_.Open(ImagePath(id, name), OpenMode::kCreate));
  RETURN_IF_ERROR(file->Truncate(0));
  RETURN_IF_ERROR(file->WriteAt(0, image));
  RETURN_IF_ERROR(file->Sync());
  return SnapshotFile{.name = name, .bytes = image.size(), .crc = ComputeCrc32c(image)};
}

absl::StatusOr<SnapshotManifest> SnapshotStore::CommitSnapshot(SnapshotId id,
                                                               std::vector<SnapshotFile> files) {
  std::sort(files.begin(), files.end(),
            [](const SnapshotFile& a, const SnapshotFile& b) { return a.name < b.name; });
  SnapshotManifest manifest{.id = id,
                            .cluster_id = owner_.cluster_id,
                            .group = owner_.group,
                            .configuration = owner_.configuration,
                            .files = std::move(files)};
  RETURN_IF_ERROR(fs_.SyncDir(folder_));
  RETURN_IF_ERROR(WriteFileAtomically(fs_, ManifestPath(id), EncodeManifest(manifest)));
  return manifest;
}

absl::StatusOr<std::string> SnapshotStore::ReadImage(SnapshotId id, const SnapshotFile& file) {
  const std::string path = ImagePath(id, file.name);
  ASSIGN_OR_RETURN(std::string image, ReadFile(fs_, path, kImageBytesMax));
  if (image.size() != file.bytes || ComputeCrc32c(image) != file.crc) {
    return absl::DataLossError(absl::StrCat(path, " is not what its manifest says"));
  }
  return image;
}

absl::StatusOr<SnapshotStore::Page> SnapshotStore::ReadPage(SnapshotId id, absl::string_view name,
                                                            uint64_t offset, size_t bytes) {
  if (!name.empty() && !IsImageName(name)) {
    return absl::NotFoundError("no such image");
  }
  // Images without a manifest are no snapshot yet.
  ASSIGN_OR_RETURN(const bool exists, fs_.Exists(ManifestPath(id)));
  if (!exists) {
    return absl::NotFoundError(absl::StrCat("no snapshot ", id.index));
  }
  const std::string path = name.empty() ? ManifestPath(id) : ImagePath(id, name);
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, fs_.Open(path, OpenMode::kRead));
  Page page;
  ASSIGN_OR_RETURN(page.file_bytes, file->Size());
  page.data.resize(bytes);
  ASSIGN_OR_RETURN(const size_t read, file->ReadAt(offset, bytes, page.data.data()));
  page.data.resize(read);
  return page;
}

absl::Status SnapshotStore::RemoveAllBut(const std::vector<SnapshotId>& kept) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.List(folder_));
  const auto doomed = [&kept](const std::string& name) {
    const std::optional<SnapshotId> id = IdOf(name);
    return !id.has_value() || std::find(kept.begin(), kept.end(), *id) == kept.end();
  };
  // Manifests first, and durably, so that no snapshot is ever seen with images missing.
  for (const bool manifests : {true, false}) {
    bool removed = false;
    for (const std::string& name : names) {
      if (absl::StartsWith(name, kManifestPrefix) == manifests && doomed(name)) {
        RETURN_IF_ERROR(fs_.Remove(JoinPath(folder_, name)));
        removed = true;
      }
    }
    if (removed) {
      RETURN_IF_ERROR(fs_.SyncDir(folder_));
    }
  }
  return absl::OkStatus();
}

}  // namespace ballast
