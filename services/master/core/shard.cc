// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/shard.h"

#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/routing/shard_router.h"
#include "common/types/key.h"
#include "common/types/limits.h"
#include "services/master/core/commands.h"

// What is common to all commands, and those about objects and sessions. Drafts: shard_writes.cc;
// images: shard_image.cc.

namespace ballast::master {
namespace {

// True for operations of clients, which must carry a request and apply exactly once.
bool NeedsRequest(mlog::Command::OpCase op) {
  switch (op) {
    case mlog::Command::kPutInline:
    case mlog::Command::kDeleteObject:
    case mlog::Command::kBeginWrite:
    case mlog::Command::kAllocateChunks:
    case mlog::Command::kSealChunks:
    case mlog::Command::kCommit:
    case mlog::Command::kAbortWrite:
    case mlog::Command::kSetReplication:
      return true;
    default:
      return false;
  }
}

uint64_t SaturatingAdd(uint64_t a, uint64_t b) {
  return a + b < a ? std::numeric_limits<uint64_t>::max() : a + b;
}

}  // namespace

Shard::Shard(ShardId id, uint32_t shard_count) : id_(id), shard_count_(shard_count) {
  CHECK_LT(id.value(), shard_count);
}

void Shard::Acquire(ConfigVersion version) {
  CHECK(state_ == mlog::SHARD_STATE_NONE || state_ == mlog::SHARD_STATE_FROZEN);
  state_ = mlog::SHARD_STATE_OWNED;
  acquired_version_ = version;
}

void Shard::Freeze() {
  CHECK(state_ == mlog::SHARD_STATE_OWNED);
  state_ = mlog::SHARD_STATE_FROZEN;
}

mlog::Result Shard::Apply(const mlog::Command& command, uint64_t now_ms) {
  CHECK(serving());
  if (!NeedsRequest(command.op_case())) return Execute(command, now_ms);
  if (!command.has_request() || ChunkHandle(command.request().session_id()).shard() != id_) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "request.session_id is not of the key's shard");
  }
  SessionTable::Verdict verdict = sessions_.Admit(command.request(), now_ms);
  if (verdict.admission != SessionTable::Admission::kExecute) return std::move(verdict.result);
  mlog::Result result = Execute(command, now_ms);
  sessions_.Record(command.request(), result);
  return result;
}

mlog::Result Shard::Execute(const mlog::Command& command, uint64_t now_ms) {
  switch (command.op_case()) {
    case mlog::Command::kOpenSession:
      return OpenSession(now_ms);
    case mlog::Command::kCloseSession:
      sessions_.Close(SessionId(command.close_session().session_id()));
      return {};
    case mlog::Command::kExpireSessions:
      for (uint64_t session : command.expire_sessions().session_ids()) {
        sessions_.CloseIfIdle(SessionId(session), command.expire_sessions().idle_ms(), now_ms);
      }
      return {};
    case mlog::Command::kPutInline:
      return PutInline(command.put_inline(), now_ms);
    case mlog::Command::kDeleteObject:
      return Delete(command.delete_object(), now_ms);
    case mlog::Command::kBeginWrite:
      return BeginWrite(command.begin_write(), now_ms);
    case mlog::Command::kAllocateChunks:
      return AllocateChunks(command.allocate_chunks(), now_ms);
    case mlog::Command::kSealChunks:
      return SealChunks(command.seal_chunks(), now_ms);
    case mlog::Command::kCommit:
      return Commit(command.commit(), now_ms);
    case mlog::Command::kAbortWrite: {
      const DraftId id(command.abort_write().draft_id());
      if (drafts_.Find(id) != nullptr) EndDraft(id, /*keep_chunks=*/false);
      return {};
    }
    case mlog::Command::kExpireDrafts:
      for (uint64_t number : command.expire_drafts().draft_ids()) {
        const Draft* draft = drafts_.Find(DraftId(number));
        if (draft != nullptr && draft->due_ms() <= now_ms) EndDraft(draft->id, false);
      }
      return {};
    case mlog::Command::kRemoveDoomed: {
      const uint64_t handles_max =
          std::min<uint64_t>(command.remove_doomed().handles_max(), kRemoveDoomedMax);
      doomed_.TakeDue(now_ms, handles_max, [this](uint64_t sequence) { EraseChunk(sequence); });
      return {};
    }
    case mlog::Command::kUpdateLocations:
      return UpdateLocations(command.update_locations());
    case mlog::Command::kTrim:
      return Trim(command.trim());
    case mlog::Command::kRevokeTrim:
      return EndTrim(command.revoke_trim().handle(), command.revoke_trim().server_index(), false);
    case mlog::Command::kFinishTrim:
      return EndTrim(command.finish_trim().handle(), command.finish_trim().server_index(), true);
    case mlog::Command::kSetReplication:
      return SetReplication(command.set_replication());
    case mlog::Command::kApplyConfiguration:
    case mlog::Command::OP_NOT_SET:
      break;
  }
  return Refusal(v1::REASON_INVALID_ARGUMENT, "not a command for a shard");
}

absl::Status Shard::CheckKey(absl::string_view key) const {
  if (absl::Status status = ValidateKey(key); !status.ok()) return status;
  if (ShardOfKey(key, shard_count_) != id_) return InvalidArgument("the key is of another shard");
  return absl::OkStatus();
}

mlog::Result Shard::OpenSession(uint64_t now_ms) {
  const SessionId id(ChunkHandle(id_, last_session_ + 1).value());
  if (!sessions_.Open(id, now_ms)) {
    return Refusal(v1::REASON_OVERLOADED, "too many sessions are open in this shard");
  }
  ++last_session_;
  mlog::Result result;
  result.set_session_id(id.value());
  return result;
}

mlog::Result Shard::PutInline(const mlog::Command::PutInline& op, uint64_t now_ms) {
  if (absl::Status status = CheckKey(op.key()); !status.ok()) return Refusal(status);
  if (op.value().size() > kInlineBytesMax) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "value is too long to be stored inline");
  }
  if (ComputeCrc32c(op.value()).value != op.crc32c()) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "crc32c does not fit the value");
  }
  absl::StatusOr<MetadataList> metadata = CheckedMetadata(op.metadata());
  if (!metadata.ok()) return Refusal(metadata.status());
  const ObjectRecord* current = objects_.Find(op.key());
  if (op.has_if_generation_match() &&
      op.if_generation_match() != (current ? current->generation().value() : 0)) {
    return Refusal(v1::REASON_GENERATION_MISMATCH, "if_generation_match does not hold");
  }
  ObjectFacts facts;
  facts.key = op.key();
  facts.size_bytes = op.value().size();
  facts.crc32c = Crc32c{op.crc32c()};
  facts.modified_unix_ms = op.modified_unix_ms();
  facts.is_inline = true;
  facts.inline_data = op.value();
  facts.metadata = *std::move(metadata);
  return Install(std::move(facts), op.grace_ms(), now_ms);
}

mlog::Result Shard::Delete(const mlog::Command::Delete& op, uint64_t now_ms) {
  if (absl::Status status = CheckKey(op.key()); !status.ok()) return Refusal(status);
  const ObjectRecord* current = objects_.Find(op.key());
  if (current == nullptr) return Refusal(v1::REASON_OBJECT_NOT_FOUND, "no such object");
  if (op.has_if_generation_match() && op.if_generation_match() != current->generation().value()) {
    return Refusal(v1::REASON_GENERATION_MISMATCH, "if_generation_match does not hold");
  }
  mlog::Result result;
  result.set_generation(current->generation().value());
  Doom(*current, op.grace_ms(), now_ms);
  objects_.Erase(op.key());
  return result;
}

mlog::Result Shard::Install(ObjectFacts facts, uint64_t grace_ms, uint64_t now_ms) {
  const ObjectRecord* current = objects_.Find(facts.key);
  if (current != nullptr) Doom(*current, grace_ms, now_ms);
  facts.generation = Generation(++last_generation_);
  objects_.Put(ObjectRecord(facts));
  mlog::Result result;
  result.set_generation(facts.generation.value());
  return result;
}

void Shard::Doom(const ObjectRecord& object, uint64_t grace_ms, uint64_t now_ms) {
  if (object.chunks().empty()) return;
  DoomedEntry entry;
  entry.due_ms = SaturatingAdd(now_ms, grace_ms);
  entry.key = std::string(object.key());
  entry.generation = object.generation();
  entry.size_bytes = object.size_bytes();
  entry.chunks.assign(object.chunks().begin(), object.chunks().end());
  doomed_.Add(std::move(entry));
}

void Shard::EraseChunk(uint64_t sequence) {
  if (observer_ != nullptr) {
    const ChunkRecord* record = chunks_.Find(sequence);
    CHECK(record != nullptr);
    observer_->OnChunkRemoved(ChunkHandle(id_, sequence), *record);
  }
  CHECK(chunks_.Erase(sequence)) << " sequence " << sequence;
  if (trims_.RemoveChunk(sequence) && observer_ != nullptr) {
    observer_->OnTrimsChanged(ChunkHandle(id_, sequence));
  }
}

mlog::Result Shard::UpdateLocations(const mlog::Command::UpdateLocations& op) {
  if (static_cast<size_t>(op.changes_size()) > kUpdateLocationsMax) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "too many changes in one command");
  }
  for (const mlog::Command::UpdateLocations::Change& change : op.changes()) {
    const ChunkHandle handle(change.handle());
    ChunkRecord* record = handle.shard() == id_ ? chunks_.Find(handle.sequence()) : nullptr;
    if (record == nullptr) continue;  // it went meanwhile
    const ServerList add(change.add_servers().begin(), change.add_servers().end());
    const ServerList drop(change.drop_servers().begin(), change.drop_servers().end());
    if (chunks_.ChangeLogged(handle.sequence(), add, drop) && observer_ != nullptr) {
      observer_->OnLocationsChanged(handle, *record);
    }
  }
  return {};
}

mlog::Result Shard::Trim(const mlog::Command::Trim& op) {
  const ChunkHandle handle(op.handle());
  if (handle.shard() != id_ || chunks_.Find(handle.sequence()) == nullptr) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "no such chunk");
  }
  if (op.server_index() == 0 || op.server_index() > kServerIndexMax) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "server_index is out of range");
  }
  if (op.keep_replicas() > kReplicasMax) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "keep_replicas is not 0..5");
  }
  if (trims_.size() >= kTrimsPerShardMax) {
    return Refusal(v1::REASON_OVERLOADED, "too many trims are under way in this shard");
  }
  if (trims_.Add(handle.sequence(), ServerIndex(op.server_index()), op.keep_replicas()) &&
      observer_ != nullptr) {
    observer_->OnTrimsChanged(handle);
  }
  return {};
}

mlog::Result Shard::EndTrim(uint64_t number, uint32_t server_index, bool gone) {
  const ChunkHandle handle(number);
  const ServerIndex server(server_index);
  if (handle.shard() != id_ || !trims_.Remove(handle.sequence(), server)) return {};
  if (observer_ != nullptr) observer_->OnTrimsChanged(handle);
  ChunkRecord* record = chunks_.Find(handle.sequence());
  if (gone && record != nullptr && chunks_.ChangeLogged(handle.sequence(), {}, {server}) &&
      observer_ != nullptr) {
    observer_->OnLocationsChanged(handle, *record);
  }
  return {};
}

}  // namespace ballast::master
