// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/store/chunk_verification.h"

#include <fcntl.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast::chunkserver {

absl::StatusOr<std::unique_ptr<ChunkVerification>> ChunkVerification::Start(ChunkStore& store,
                                                                            ChunkHandle handle) {
  ASSIGN_OR_RETURN(const ReplicaFacts facts, store.FindForUse(handle));
  bool cold = false;
  uint64_t marks = 0;
  {
    absl::MutexLock lock(&store.mu_);
    cold = !store.open_by_handle_.contains(handle);
    marks = store.corrupt_marks_;
  }
  absl::StatusOr<std::shared_ptr<const OpenChunk>> chunk = store.OpenFile(handle, facts);
  if (!chunk.ok()) {
    RETURN_IF_ERROR(store.FindForUse(handle).status());  // deleted meanwhile
    if (absl::IsResourceExhausted(chunk.status())) {
      return MakeError(v1::REASON_OVERLOADED, chunk.status().message());  // out of descriptors
    }
    store.MarkCorrupt(handle, chunk.status());
    return MakeError(v1::REASON_CHECKSUM_MISMATCH, chunk.status().message());
  }
  return std::unique_ptr<ChunkVerification>(
      new ChunkVerification(store, handle, facts, cold, marks, *std::move(chunk)));
}

absl::StatusOr<bool> ChunkVerification::Step(uint64_t bytes_max) {
  const uint64_t blocks = chunk_->header.blocks.size();
  CHECK_LT(next_block_, blocks);
  const uint64_t count =
      std::min(std::max(bytes_max / kBlockBytes, uint64_t{1}), blocks - next_block_);
  buffer_.resize(std::max<size_t>(buffer_.size(), count * kBlockBytes));
  ASSIGN_OR_RETURN(const size_t bytes,
                   store_.ReadBlocks(*chunk_, next_block_, count, buffer_.data()));
  DropCached(next_block_ * kBlockBytes, bytes);
  next_block_ += count;
  if (next_block_ < blocks) {
    return false;
  }
  if (!store_.SetVerified(handle_, marks_)) {
    return MakeError(
        v1::REASON_CHECKSUM_MISMATCH,
        absl::StrCat("a reader found chunk ", handle_.ToString(), " damaged meanwhile"));
  }
  facts_.state = ReplicaState::kVerified;
  return true;
}

void ChunkVerification::DropCached(uint64_t begin, uint64_t bytes) const {
  const int descriptor = chunk_->file->descriptor();
  if (cold_ && descriptor >= 0) {
    // A hint; pages that are not written back yet stay.
    posix_fadvise(descriptor, static_cast<off_t>(kChunkPrefixBytes + begin),
                  static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
  }
}

}  // namespace ballast::chunkserver
