// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/crc32c.h"
#include "common/env/file_system.h"

namespace ballast {

// Index and term of the last entry a snapshot holds; ordered by age.
struct SnapshotId {
  uint64_t index = 0;
  uint64_t term = 0;
  friend auto operator<=>(const SnapshotId&, const SnapshotId&) = default;
};

// One image of the state machine; opaque here.
struct SnapshotFile {
  std::string name;  // [a-z0-9-], 1..kImageNameBytesMax
  uint64_t bytes = 0;
  Crc32c crc;
};

inline constexpr size_t kImageNameBytesMax = 32;
inline constexpr uint64_t kImageBytesMax = uint64_t{1} << 30;
inline constexpr size_t kConfigurationBytesMax = 4096;
inline constexpr size_t kManifestBytesMax = size_t{16} << 20;

// What a snapshot is made of. Every image holds at least the commands up to `id.index`, and says
// itself how far beyond it goes.
struct SnapshotManifest {
  SnapshotId id;
  std::string cluster_id;
  uint32_t group = 0;
  std::string configuration;        // payload of log entry 1, which the snapshot replaces
  std::vector<SnapshotFile> files;  // by name, ascending
};

std::string EncodeManifest(const SnapshotManifest& manifest);
// DATA_LOSS for anything that EncodeManifest does not make.
absl::StatusOr<SnapshotManifest> DecodeManifest(absl::string_view data);

// Snapshots in a folder of their own: files "image-<index>-<term>-<name>" and, once all of them
// are durable, "manifest-<index>-<term>"; a snapshot exists from the moment its manifest does.
//
// Concurrency: none; all methods block and are called by one thread at a time.
// Failure: an error of the disk leaves at worst files that no manifest names; they are removed by
// RemoveAllBut.
class SnapshotStore {
 public:
  struct Owner {  // whose snapshots these are; others' are not used
    std::string cluster_id;
    uint32_t group = 0;
    std::string configuration;
  };

  SnapshotStore(FileSystem& fs, std::string folder, Owner owner)
      : fs_(fs), folder_(std::move(folder)), owner_(std::move(owner)) {}

  struct Found {
    std::optional<SnapshotManifest> newest;  // whose images are all whole
    // Newer ones that cannot be used, each with its reason.
    std::vector<std::string> unusable;
  };
  // Reads every image of the newest snapshot once. Errors only of the folder itself.
  absl::StatusOr<Found> FindNewest();

  // Writes one image. Its content is durable on return, its name at CommitSnapshot.
  // INVALID_ARGUMENT for names and sizes that no manifest can hold.
  absl::StatusOr<SnapshotFile> WriteImage(SnapshotId id, const std::string& name,
                                          absl::string_view image);

  // FAILED_PRECONDITION if the manifest is of another cluster, group or configuration.
  absl::Status CheckOwner(const SnapshotManifest& manifest) const;

  // Makes the snapshot of these images (all written) exist. Durable on return.
  absl::StatusOr<SnapshotManifest> CommitSnapshot(SnapshotId id, std::vector<SnapshotFile> files);

  // One image, verified. DATA_LOSS if it is not what the manifest says.
  absl::StatusOr<std::string> ReadImage(SnapshotId id, const SnapshotFile& file);

  struct Page {
    std::string data;
    uint64_t file_bytes = 0;
  };
  // Up to `bytes` bytes from `offset` of an image, or of the manifest if `name` is empty, for
  // another voter. NOT_FOUND if there is no such snapshot (any more).
  absl::StatusOr<Page> ReadPage(SnapshotId id, absl::string_view name, uint64_t offset,
                                size_t bytes);

  // Removes every file of the folder that does not belong to one of `kept`.
  absl::Status RemoveAllBut(const std::vector<SnapshotId>& kept);

 private:
  std::string ManifestPath(SnapshotId id) const;
  std::string ImagePath(SnapshotId id, absl::string_view name) const;
  absl::StatusOr<SnapshotManifest> Verify(SnapshotId id);

  FileSystem& fs_;
  const std::string folder_;
  const Owner owner_;
};

}  // namespace ballast
