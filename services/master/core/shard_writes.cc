// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "common/base/check.h"
#include "common/types/limits.h"
#include "services/master/core/commands.h"
#include "services/master/core/shard.h"

// Large writes: begin, allocate, seal, commit, the end of drafts, and how many replicas are wanted.

namespace ballast::master {
namespace {

mlog::Result DraftEnded() {
  return Refusal(v1::REASON_DRAFT_ENDED, "the draft was committed, aborted or expired");
}

mlog::Result DescribeDraft(const Draft& draft) {
  mlog::Result result;
  result.set_draft_id(draft.id.value());
  result.set_wanted_replicas(draft.wanted_replicas);
  result.set_required_replicas(draft.required_replicas);
  return result;
}

}  // namespace

bool Shard::CanAllocate(uint64_t count) const {
  return count <= ChunkHandle::kSequenceMax - allocated_mark_;
}

mlog::Run Shard::AllocateFor(Draft& draft, uint64_t count) {
  mlog::Run out;
  if (count == 0) return out;
  const Run run{allocated_mark_ + 1, count};
  allocated_mark_ += count;
  drafts_.Allocate(draft, run);
  out.set_first_sequence(run.first);
  out.set_count(run.count);
  return out;
}

mlog::Result Shard::BeginWrite(const mlog::Command::BeginWrite& op, uint64_t now_ms) {
  if (absl::Status status = CheckKey(op.key()); !status.ok()) return Refusal(status);
  if (op.wanted_replicas() == 0 || op.wanted_replicas() > kReplicasMax) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "wanted_replicas is not 1..5");
  }
  if (op.required_replicas() == 0 || op.required_replicas() > op.wanted_replicas()) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "required_replicas is not 1..wanted_replicas");
  }
  if (op.chunk_count() > kAllocateChunksMax) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "chunk_count is over 256");
  }
  if (drafts_.size() >= kDraftsPerShardMax || !CanAllocate(op.chunk_count())) {
    return Refusal(v1::REASON_OVERLOADED, "too many large writes are under way in this shard");
  }
  Draft fresh;
  fresh.id = DraftId(ChunkHandle(id_, ++last_draft_).value());
  fresh.key = op.key();
  fresh.wanted_replicas = op.wanted_replicas();
  fresh.required_replicas = op.required_replicas();
  fresh.renewed_ms = now_ms;
  fresh.expiry_ms = op.expiry_ms();
  Draft& draft = drafts_.Insert(std::move(fresh));
  mlog::Result result = DescribeDraft(draft);
  *result.mutable_allocated() = AllocateFor(draft, op.chunk_count());
  return result;
}

mlog::Result Shard::AllocateChunks(const mlog::Command::AllocateChunks& op, uint64_t now_ms) {
  Draft* draft = drafts_.Find(DraftId(op.draft_id()));
  if (draft == nullptr) return DraftEnded();
  if (op.chunk_count() > kAllocateChunksMax) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "chunk_count is over 256");
  }
  if (op.chunk_count() > kDraftHandlesMax - draft->allocated_count()) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "the draft has used up its chunk handles");
  }
  if (!CanAllocate(op.chunk_count())) {
    return Refusal(v1::REASON_OVERLOADED, "the shard has no chunk handles left");
  }
  drafts_.Renew(*draft, now_ms);
  mlog::Result result = DescribeDraft(*draft);
  *result.mutable_allocated() = AllocateFor(*draft, op.chunk_count());
  return result;
}

absl::Status Shard::CheckSeal(const Draft& draft, const mlog::SealedChunk& chunk) const {
  const ChunkHandle handle(chunk.handle());
  if (handle.shard() != id_ || !draft.Owns(handle.sequence())) {
    return InvalidArgument("chunks.handle is not of this draft");
  }
  if (chunk.position() >= kChunksPerObjectMax) {
    return InvalidArgument("chunks.position is beyond the largest object");
  }
  if (chunk.length_bytes() == 0 || chunk.length_bytes() > kChunkBytesMax) {
    return InvalidArgument("chunks.length_bytes is not 1..64 MiB");
  }
  ServerList servers;
  for (uint32_t index : chunk.server_indexes()) {
    if (index == 0 || index > kServerIndexMax || servers.size() == kReplicasMax ||
        std::count(servers.begin(), servers.end(), ServerIndex(index)) > 0) {
      return InvalidArgument("chunks.server_indexes must be up to 5 different servers");
    }
    servers.push_back(ServerIndex(index));
  }
  if (servers.size() < draft.required_replicas) {
    return InvalidArgument("chunks.server_indexes are fewer than the required replicas");
  }
  const uint64_t sealed_there = draft.SequenceAt(chunk.position());
  const ChunkRecord* record = chunks_.Find(handle.sequence());
  if (record == nullptr && sealed_there == 0) return absl::OkStatus();
  // Where the replicas are may have changed since the first time; what the chunk is may not.
  if (record == nullptr || sealed_there != handle.sequence() ||
      record->length_bytes() != chunk.length_bytes() ||
      record->crc32c() != Crc32c{chunk.crc32c()}) {
    return InvalidArgument("chunks: sealed before, with other facts");
  }
  return absl::OkStatus();
}

mlog::Result Shard::SealChunks(const mlog::Command::SealChunks& op, uint64_t now_ms) {
  Draft* draft = drafts_.Find(DraftId(op.draft_id()));
  if (draft == nullptr) return DraftEnded();
  if (static_cast<size_t>(op.chunks_size()) > kSealChunksMax) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "more than 256 chunks");
  }
  // All are judged before any is sealed.
  absl::btree_map<uint64_t, const mlog::SealedChunk*> fresh;  // by position
  absl::btree_set<uint64_t> handles;
  for (const mlog::SealedChunk& chunk : op.chunks()) {
    if (absl::Status status = CheckSeal(*draft, chunk); !status.ok()) return Refusal(status);
    if (chunks_.Find(ChunkHandle(chunk.handle()).sequence()) != nullptr) continue;
    if (!fresh.emplace(chunk.position(), &chunk).second || !handles.insert(chunk.handle()).second) {
      return Refusal(v1::REASON_INVALID_ARGUMENT, "chunks: a handle or position comes twice");
    }
  }
  for (const auto& [position, chunk] : fresh) {
    const ChunkHandle handle(chunk->handle());
    const ChunkFacts facts{chunk->length_bytes(), Crc32c{chunk->crc32c()}, draft->wanted_replicas};
    const ServerList servers(chunk->server_indexes().begin(), chunk->server_indexes().end());
    ChunkRecord& record = chunks_.Insert(handle.sequence(), facts, servers);
    draft->Seal(position, handle.sequence(), chunks_);
    if (observer_ != nullptr) observer_->OnChunkAdded(handle, record);
  }
  drafts_.Renew(*draft, now_ms);
  return {};
}

absl::Status Shard::CheckCommit(const Draft& draft, const mlog::Command::Commit& op) const {
  if (op.key() != draft.key) return InvalidArgument("key is not the draft's");
  if (op.chunk_count() != draft.prefix_count() || draft.sealed_count() != draft.prefix_count()) {
    return InvalidArgument("sealed positions are not 0..chunk_count-1");
  }
  if (!draft.prefix_even()) {
    return InvalidArgument("chunks before the last one are not all of the same length");
  }
  if (op.size_bytes() != draft.prefix_bytes()) {
    return InvalidArgument("size_bytes is not the sum of the chunks' lengths");
  }
  if (Crc32c{op.crc32c()} != draft.prefix_crc32c()) {
    return InvalidArgument("crc32c does not fit the chunks' checksums");
  }
  return absl::OkStatus();
}

mlog::Result Shard::Commit(const mlog::Command::Commit& op, uint64_t now_ms) {
  const DraftId id(op.draft_id());
  const Draft* draft = drafts_.Find(id);
  if (draft == nullptr) return DraftEnded();
  if (absl::Status status = CheckCommit(*draft, op); !status.ok()) return Refusal(status);
  absl::StatusOr<MetadataList> metadata = CheckedMetadata(op.metadata());
  if (!metadata.ok()) return Refusal(metadata.status());
  const ObjectRecord* current = objects_.Find(op.key());
  if (op.has_if_generation_match() &&
      op.if_generation_match() != (current ? current->generation().value() : 0)) {
    EndDraft(id, /*keep_chunks=*/false);
    return Refusal(v1::REASON_GENERATION_MISMATCH, "if_generation_match does not hold");
  }
  ObjectFacts facts;
  facts.key = op.key();
  facts.size_bytes = op.size_bytes();
  facts.crc32c = Crc32c{op.crc32c()};
  facts.modified_unix_ms = op.modified_unix_ms();
  facts.wanted_replicas = draft->wanted_replicas;
  facts.chunks = draft->PrefixRuns();
  facts.metadata = *std::move(metadata);
  EndDraft(id, /*keep_chunks=*/true);
  return Install(std::move(facts), op.grace_ms(), now_ms);
}

mlog::Result Shard::SetReplication(const mlog::Command::SetReplication& op) {
  if (absl::Status status = CheckKey(op.key()); !status.ok()) return Refusal(status);
  if (op.wanted_replicas() == 0 || op.wanted_replicas() > kReplicasMax) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "wanted_replicas is not 1..5");
  }
  const ObjectRecord* object = objects_.Find(op.key());
  if (object == nullptr) return Refusal(v1::REASON_OBJECT_NOT_FOUND, "no such object");
  if (object->is_inline()) {
    return Refusal(v1::REASON_OBJECT_INLINE, "the object is inline: its copies are the group's");
  }
  for (const Run& run : object->chunks()) {
    chunks_.SetWanted(run.first, run.first + run.count, op.wanted_replicas());
  }
  objects_.SetWanted(op.key(), op.wanted_replicas());
  return {};
}

void Shard::EndDraft(DraftId id, bool keep_chunks) {
  const Draft* draft = drafts_.Find(id);
  CHECK(draft != nullptr);
  if (!keep_chunks) {
    draft->ForEachSealedRun([this](const Draft::PositionedRun& part) {
      for (uint64_t i = 0; i < part.run.count; ++i) EraseChunk(part.run.first + i);
    });
  }
  drafts_.Erase(id);
}

}  // namespace ballast::master
