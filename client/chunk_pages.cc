// SPDX-License-Identifier: Apache-2.0
#include "client/chunk_pages.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/byte_units.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::client {
namespace {

constexpr uint32_t kPageChunks = kChunkPageMax;

}  // namespace

ChunkPages::ChunkPages(MetadataClient& metadata, const v1::GetObjectResponse& object,
                       CallControl control)
    : metadata_(metadata),
      object_(object.object()),
      control_(control),
      chunk_bytes_(object.chunks().empty() ? 0 : object.chunks(0).length_bytes()),
      page_(object.chunks().begin(), object.chunks().end()) {}

absl::Status ChunkPages::Check() const {
  if (chunk_bytes_ == 0 || chunk_bytes_ > kChunkBytesMax ||
      CeilDiv(object_.size_bytes(), chunk_bytes_) != object_.chunk_count()) {
    return absl::InternalError("the master's chunk list does not fit the object's size");
  }
  absl::MutexLock lock(&mu_);
  for (size_t i = 0; i < page_.size(); ++i) {
    RETURN_IF_ERROR(CheckChunk(page_[i], i));
  }
  return absl::OkStatus();
}

absl::Status ChunkPages::CheckChunk(const v1::ChunkInfo& chunk, uint64_t position) const {
  const uint64_t offset = position * chunk_bytes_;
  if (position >= object_.chunk_count() || chunk.position() != position ||
      chunk.offset_bytes() != offset ||
      chunk.length_bytes() != std::min(chunk_bytes_, object_.size_bytes() - offset)) {
    return absl::InternalError(
        absl::StrCat("the master's chunk list does not add up at chunk ", position));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::ChunkInfo> ChunkPages::At(uint64_t position) {
  CHECK_LT(position, object_.chunk_count());
  const auto find = [&]() -> const v1::ChunkInfo* {
    mu_.AssertHeld();
    const bool here = position >= page_begin_ && position - page_begin_ < page_.size();
    return here ? &page_[position - page_begin_] : nullptr;
  };
  {
    absl::MutexLock lock(&mu_);
    if (const v1::ChunkInfo* chunk = find()) {
      return *chunk;
    }
  }
  absl::MutexLock fetch_lock(&fetch_mu_);
  {
    absl::MutexLock lock(&mu_);
    if (const v1::ChunkInfo* chunk = find()) {
      return *chunk;
    }
  }
  ASSIGN_OR_RETURN(auto page, Fetch(position, kPageChunks));
  absl::MutexLock lock(&mu_);
  page_begin_ = position;
  page_ = std::move(page);
  return page_.front();
}

absl::StatusOr<v1::ChunkInfo> ChunkPages::Refetch(const v1::ChunkInfo& old) {
  ASSIGN_OR_RETURN(auto chunks, Fetch(old.position(), 1));
  if (chunks.front().handle() != old.handle()) {
    return absl::InternalError("a generation's chunk changed its handle");
  }
  return std::move(chunks.front());
}

absl::StatusOr<std::vector<v1::ChunkInfo>> ChunkPages::Fetch(uint64_t first_position,
                                                             uint32_t count) {
  v1::GetChunksRequest request;
  request.set_key(object_.key());
  request.set_generation(object_.generation());
  request.set_first_position(first_position);
  request.set_count(count);
  auto response = metadata_.GetChunks(request, control_);
  if (!response.ok()) {
    if (ReasonOf(response.status()) == v1::REASON_OBJECT_NOT_FOUND) {
      return MakeError(v1::REASON_GENERATION_GONE,
                       absl::StrCat("'", object_.key(), "' was removed while it was being read"));
    }
    return response.status();
  }
  std::vector<v1::ChunkInfo> chunks(response->chunks().begin(), response->chunks().end());
  if (chunks.empty()) {
    return absl::InternalError(
        absl::StrCat("the master's chunk list ends at chunk ", first_position));
  }
  for (size_t i = 0; i < chunks.size(); ++i) {
    RETURN_IF_ERROR(CheckChunk(chunks[i], first_position + i));
  }
  return chunks;
}

}  // namespace ballast::client
