// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "services/chunkserver/store/chunk_store.h"

namespace ballast::chunkserver {
namespace {

// Write-back is started once so much is dirty, so that the final sync finds little to do.
constexpr uint64_t kWritebackStepBytes = MiB(4);

}  // namespace

absl::StatusOr<VerifiedBlocks> VerifiedBlocks::Verify(std::vector<absl::string_view> pieces,
                                                      std::vector<Crc32c> blocks) {
  RETURN_IF_ERROR(VerifyPieces(pieces, blocks));
  VerifiedBlocks verified;
  for (const absl::string_view piece : pieces) {
    verified.bytes_ += piece.size();
  }
  verified.pieces_ = std::move(pieces);
  verified.blocks_ = std::move(blocks);
  return verified;
}

ChunkWriter::ChunkWriter(ChunkStore& store, ChunkHandle handle, std::string path,
                         std::unique_ptr<File> file, uint64_t reserved_bytes)
    : store_(store),
      handle_(handle),
      path_(std::move(path)),
      file_(std::move(file)),
      reserved_bytes_(reserved_bytes) {}

ChunkWriter::~ChunkWriter() {
  if (committed_) {
    return;
  }
  file_.reset();
  if (const absl::Status removed = store_.fs_.Remove(path_);
      !removed.ok() && !absl::IsNotFound(removed)) {
    // The next start removes it; until then its space is lost.
    LogWarning("chunk_store.staging_not_removed", {{"error", removed.ToString()}});
  }
  store_.ReleaseWrite(handle_, reserved_bytes_);
}

absl::Status ChunkWriter::MakeRoom(uint64_t data_bytes) {
  const uint64_t need = ChunkFileBytesOnDisk(data_bytes);
  if (need <= reserved_bytes_) {
    return absl::OkStatus();
  }
  // A chunk of unknown length doubles what it reserves.
  const uint64_t want =
      ChunkFileBytesOnDisk(std::min(std::max(data_bytes, 2 * reserved_bytes_), kChunkBytesMax));
  RETURN_IF_ERROR(store_.Reserve(want - reserved_bytes_));
  reserved_bytes_ = want;
  return store_.DiskError(file_->Allocate(want));
}

absl::Status ChunkWriter::Append(const VerifiedBlocks& blocks) {
  CHECK(!prepared_);
  if (length_ % kBlockBytes != 0) {
    return InvalidArgument("data after a short block, which can only be a chunk's last");
  }
  if (blocks.bytes() > kChunkBytesMax - length_) {
    return InvalidArgument(absl::StrCat("a chunk has at most ", kChunkBytesMax, " bytes"));
  }
  RETURN_IF_ERROR(MakeRoom(length_ + blocks.bytes()));
  for (const absl::string_view piece : blocks.pieces()) {
    RETURN_IF_ERROR(store_.DiskError(file_->WriteAt(kChunkPrefixBytes + length_, piece)));
    length_ += piece.size();
  }
  blocks_.insert(blocks_.end(), blocks.blocks().begin(), blocks.blocks().end());
  if (length_ - writeback_started_ >= kWritebackStepBytes) {
    file_->StartWriteback(kChunkPrefixBytes + writeback_started_, length_ - writeback_started_);
    writeback_started_ = length_;
  }
  return absl::OkStatus();
}

absl::Status ChunkWriter::Prepare(uint64_t length_bytes, Crc32c crc32c) {
  CHECK(!prepared_);
  if (length_ == 0 || length_bytes != length_) {
    return InvalidArgument(absl::StrCat("finish names ", length_bytes, " bytes, ", length_,
                                        " were received; a chunk has at least 1"));
  }
  ChunkHeader header{.cluster_id = store_.options_.cluster_id,
                     .handle = handle_,
                     .length_bytes = static_cast<uint32_t>(length_),
                     .crc32c = CombineBlocks(blocks_, length_),
                     .blocks = std::move(blocks_)};
  if (header.crc32c != crc32c) {
    return MakeError(v1::REASON_CHECKSUM_MISMATCH,
                     "the checksum of the whole chunk does not fit its blocks'");
  }
  crc32c_ = crc32c;
  RETURN_IF_ERROR(store_.DiskError(file_->WriteAt(0, EncodeChunkPrefix(header))));
  ASSIGN_OR_RETURN(const uint64_t size, file_->Size());
  if (size != kChunkPrefixBytes + length_) {
    RETURN_IF_ERROR(store_.DiskError(file_->Truncate(kChunkPrefixBytes + length_)));
  }
  RETURN_IF_ERROR(store_.DiskError(file_->Sync()));
  RETURN_IF_ERROR(store_.EnsureFolder(handle_));
  prepared_ = true;
  return absl::OkStatus();
}

absl::Status ChunkWriter::Commit() {
  CHECK(prepared_ && !committed_);
  file_.reset();
  const std::string final_path = store_.layout_.ChunkFile(handle_);
  const absl::Status renamed = store_.fs_.RenameExclusive(path_, final_path);
  if (absl::IsAlreadyExists(renamed)) {
    // Not in the index, so it is a file that recovery could not adopt; it stays.
    return MakeError(v1::REASON_CHUNK_EXISTS,
                     absl::StrCat("a file of chunk ", handle_.ToString(), " is on this disk"));
  }
  RETURN_IF_ERROR(store_.DiskError(renamed));
  const absl::Status synced =
      store_.DiskError(store_.fs_.SyncDir(store_.layout_.ChunkFolder(handle_)));
  if (!synced.ok()) {
    // Whether the name survives a crash is open; the whole chunk, unacknowledged, would be garbage
    // that the masters collect.
    store_.fs_.Remove(final_path).IgnoreError();
    return synced;
  }
  committed_ = true;
  store_.Publish(handle_,
                 ReplicaFacts{.length_bytes = static_cast<uint32_t>(length_),
                              .crc32c = crc32c_,
                              .state = ReplicaState::kVerified},
                 reserved_bytes_);
  return absl::OkStatus();
}

}  // namespace ballast::chunkserver
