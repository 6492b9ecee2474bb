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
// Shorter runs of zeros keep their space: files of many small holes are slow to read.
constexpr uint64_t kHoleBytesMin = MiB(1);

Crc32c CrcOfZeros(uint64_t bytes) { return ComputeCrc32c(std::string(bytes, '\0')); }

// Of a whole block of zeros.
Crc32c ZeroBlockCrc() {
  static const Crc32c crc = CrcOfZeros(kBlockBytes);
  return crc;
}

bool AllZero(absl::string_view bytes) {
  return bytes.empty() ||
         (bytes.front() == 0 && bytes.substr(1) == bytes.substr(0, bytes.size() - 1));
}

// Walks through bytes that lie in pieces.
class PieceCursor {
 public:
  explicit PieceCursor(const std::vector<absl::string_view>& pieces) : pieces_(pieces) {}

  // The next `bytes` bytes as parts of pieces; so many are there.
  std::vector<absl::string_view> Take(uint64_t bytes) {
    std::vector<absl::string_view> parts;
    while (bytes > 0) {
      const absl::string_view part = pieces_[index_].substr(at_, bytes);
      parts.push_back(part);
      bytes -= part.size();
      at_ += part.size();
      if (at_ == pieces_[index_].size()) {
        ++index_;
        at_ = 0;
      }
    }
    return parts;
  }

 private:
  const std::vector<absl::string_view>& pieces_;
  size_t index_ = 0;
  size_t at_ = 0;  // in pieces_[index_]
};

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
  RETURN_IF_ERROR(store_.Reserve(want - reserved_bytes_, ChunkStore::Backing::kDisk));
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
  RETURN_IF_ERROR(WriteBlocks(blocks));
  blocks_.insert(blocks_.end(), blocks.blocks().begin(), blocks.blocks().end());
  if (length_ - writeback_started_ >= kWritebackStepBytes) {
    file_->StartWriteback(kChunkPrefixBytes + writeback_started_, length_ - writeback_started_);
    writeback_started_ = length_;
  }
  return absl::OkStatus();
}

absl::Status ChunkWriter::WriteBlocks(const VerifiedBlocks& blocks) {
  const std::vector<Crc32c>& crcs = blocks.blocks();
  const bool may_have_zeros = std::find(crcs.begin(), crcs.end(), ZeroBlockCrc()) != crcs.end();
  PieceCursor cursor(blocks.pieces());
  // All at once, or block by block.
  const uint64_t step = may_have_zeros ? kBlockBytes : blocks.bytes();
  for (uint64_t at = 0; at < blocks.bytes(); at += step) {
    const uint64_t bytes = std::min(step, blocks.bytes() - at);
    const std::vector<absl::string_view> parts = cursor.Take(bytes);
    if (may_have_zeros && std::all_of(parts.begin(), parts.end(), AllZero)) {
      NoteZeros(length_, bytes);  // the file was just made longer, and reads as zero here
      length_ += bytes;
      continue;
    }
    for (const absl::string_view part : parts) {
      RETURN_IF_ERROR(store_.DiskError(file_->WriteAt(kChunkPrefixBytes + length_, part)));
      length_ += part.size();
    }
  }
  return absl::OkStatus();
}

void ChunkWriter::NoteZeros(uint64_t offset, uint64_t bytes) {
  if (!zero_runs_.empty() && zero_runs_.back().offset + zero_runs_.back().bytes == offset) {
    zero_runs_.back().bytes += bytes;
  } else {
    zero_runs_.push_back(ZeroRun{.offset = offset, .bytes = bytes});
  }
}

absl::Status ChunkWriter::AppendZeros(uint64_t bytes) {
  CHECK(length_ == 0 && bytes > 0 && bytes <= kChunkBytesMax);
  RETURN_IF_ERROR(store_.DiskError(file_->Truncate(kChunkPrefixBytes + bytes)));
  blocks_.assign(BlockCount(bytes), ZeroBlockCrc());
  blocks_.back() = CrcOfZeros(BlockLength(bytes, blocks_.size() - 1));
  length_ = bytes;
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
  for (const ZeroRun& run : zero_runs_) {
    if (run.bytes >= kHoleBytesMin) {
      file_->ReleaseZeros(kChunkPrefixBytes + run.offset, run.bytes);
    }
  }
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
