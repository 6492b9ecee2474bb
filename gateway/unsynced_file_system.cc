// SPDX-License-Identifier: Apache-2.0
#include "gateway/unsynced_file_system.h"

#include <utility>

#include "common/base/status_macros.h"

namespace ballast::gateway {
namespace {

class UnsyncedFile final : public File {
 public:
  explicit UnsyncedFile(std::unique_ptr<File> base) : base_(std::move(base)) {}

  absl::Status WriteAt(uint64_t offset, absl::string_view data) override {
    return base_->WriteAt(offset, data);
  }
  absl::StatusOr<size_t> ReadAt(uint64_t offset, size_t bytes, char* out) override {
    return base_->ReadAt(offset, bytes, out);
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  void StartWriteback(uint64_t, uint64_t) override {}
  absl::Status Truncate(uint64_t bytes) override { return base_->Truncate(bytes); }
  absl::Status Allocate(uint64_t bytes) override {
    ASSIGN_OR_RETURN(const uint64_t size, base_->Size());
    return size < bytes ? base_->Truncate(bytes) : absl::OkStatus();
  }
  absl::StatusOr<uint64_t> Size() override { return base_->Size(); }
  int descriptor() const override { return base_->descriptor(); }

 private:
  const std::unique_ptr<File> base_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<File>> UnsyncedFileSystem::Open(const std::string& path,
                                                               OpenMode mode) {
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, base_.Open(path, mode));
  return std::make_unique<UnsyncedFile>(std::move(file));
}

}  // namespace ballast::gateway
