// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_table.h"
#include "services/master/core/doomed_list.h"
#include "services/master/core/draft_table.h"
#include "services/master/core/object_table.h"
#include "services/master/core/results.h"
#include "services/master/core/session_table.h"
#include "services/master/core/trim_set.h"

namespace ballast::master {

// One shard of the metadata: all its replicated state, and what each command does to it.
//
// Invariants (import proves them of foreign bytes):
//  * every chunk of the chunk table belongs to exactly one object, draft or doomed entry, and every
//    chunk these name is in the table;
//  * handles, drafts, sessions and generations come from counters that never go back, so none is
//  ever
//    used twice, not even after a delete;
//  * a command that is refused changes nothing but its session, except Commit, which ends its draft
//    when its precondition fails.
//
// Deterministic: state and results follow from the commands and the group times given.
// Concurrency: none. Ownership: owns its tables; the observer, if any, outlives it.
class Shard {
 public:
  // A new shard, not served.
  Shard(ShardId id, uint32_t shard_count);
  Shard(Shard&&) = default;
  Shard& operator=(Shard&&) = default;

  ShardId id() const { return id_; }
  mlog::ShardState state() const { return state_; }
  // True if requests of clients are executed here.
  bool serving() const { return state_ == mlog::SHARD_STATE_OWNED; }
  ConfigVersion acquired_version() const { return acquired_version_; }

  // NONE -> OWNED, empty; FROZEN -> OWNED, as it was. Requires: NONE or FROZEN.
  void Acquire(ConfigVersion version);

  // OWNED -> FROZEN: nothing is served any more, and everything kept. Requires: OWNED.
  void Freeze();

  // Executes a command for this shard at a group time. Requires: serving(); the op is not
  // group-wide. Anything in the command may be wrong; that is a refusal.
  mlog::Result Apply(const mlog::Command& command, uint64_t now_ms);

  void SetObserver(ChunkObserver* observer) { observer_ = observer; }

  // --- reads ---
  const ObjectTable& objects() const { return objects_; }
  const ChunkTable& chunks() const { return chunks_; }
  // For live views only: public mutators of the records, nothing else.
  ChunkTable& mutable_chunks() { return chunks_; }
  const DraftTable& drafts() const { return drafts_; }
  const DoomedList& doomed() const { return doomed_; }
  const SessionTable& sessions() const { return sessions_; }
  const TrimSet& trims() const { return trims_; }
  // Sequences 1..mark have been given out.
  uint64_t allocated_mark() const { return allocated_mark_; }
  uint64_t last_generation() const { return last_generation_; }
  uint64_t quarantined_below() const { return quarantined_below_; }

  bool IsAllocated(uint64_t sequence) const { return sequence > 0 && sequence <= allocated_mark_; }
  // True if an object, a doomed entry or a draft has this handle (a draft: sealed or not).
  bool IsReferenced(uint64_t sequence) const {
    return chunks_.Find(sequence) != nullptr || drafts_.Owns(sequence);
  }
  // True only if no replica of this handle can ever be needed again: it was given out by this
  // shard, nothing has it, and no restored backup made this uncertain.
  bool IsProvableGarbage(uint64_t sequence) const {
    return IsAllocated(sequence) && sequence > quarantined_below_ && !IsReferenced(sequence);
  }

  // --- image (protos/master_log.proto: ImageRecord) ---
  struct ImageStamp {
    RaftIndex applied;
    uint64_t group_time_ms = 0;
  };
  std::string Export(const ImageStamp& stamp) const;

  struct Imported;
  // DATA_LOSS on anything malformed or inconsistent. Re-exporting what was imported with its own
  // stamp gives the same bytes.
  static absl::StatusOr<Imported> Import(ShardId id, uint32_t shard_count, absl::string_view image);

 private:
  class Importer;

  mlog::Result Execute(const mlog::Command& command, uint64_t now_ms);
  mlog::Result OpenSession(uint64_t now_ms);
  mlog::Result PutInline(const mlog::Command::PutInline& op, uint64_t now_ms);
  mlog::Result Delete(const mlog::Command::Delete& op, uint64_t now_ms);
  mlog::Result BeginWrite(const mlog::Command::BeginWrite& op, uint64_t now_ms);
  mlog::Result AllocateChunks(const mlog::Command::AllocateChunks& op, uint64_t now_ms);
  mlog::Result SealChunks(const mlog::Command::SealChunks& op, uint64_t now_ms);
  mlog::Result Commit(const mlog::Command::Commit& op, uint64_t now_ms);
  mlog::Result SetReplication(const mlog::Command::SetReplication& op);
  mlog::Result UpdateLocations(const mlog::Command::UpdateLocations& op);
  mlog::Result Trim(const mlog::Command::Trim& op);
  mlog::Result EndTrim(uint64_t handle, uint32_t server_index, bool gone);

  // OK, or why this key does not belong here.
  absl::Status CheckKey(absl::string_view key) const;
  absl::Status CheckSeal(const Draft& draft, const mlog::SealedChunk& chunk) const;
  absl::Status CheckCommit(const Draft& draft, const mlog::Command::Commit& op) const;
  bool CanAllocate(uint64_t count) const;
  mlog::Run AllocateFor(Draft& draft, uint64_t count);
  // Ends a draft; with `keep_chunks` its sealed chunks stay in the chunk table.
  void EndDraft(DraftId id, bool keep_chunks);
  void EraseChunk(uint64_t sequence);
  // Makes `facts` the next generation of its key and dooms the one before.
  mlog::Result Install(ObjectFacts facts, uint64_t grace_ms, uint64_t now_ms);
  // Its chunks, if any, become doomed. Does not remove the object.
  void Doom(const ObjectRecord& object, uint64_t grace_ms, uint64_t now_ms);

  ShardId id_;
  uint32_t shard_count_;
  ChunkObserver* observer_ = nullptr;

  mlog::ShardState state_ = mlog::SHARD_STATE_NONE;
  ConfigVersion acquired_version_;
  uint64_t allocated_mark_ = 0;
  uint64_t last_draft_ = 0;
  uint64_t last_session_ = 0;
  uint64_t last_generation_ = 0;
  uint64_t quarantined_below_ = 0;
  ObjectTable objects_;
  ChunkTable chunks_;
  DraftTable drafts_;
  DoomedList doomed_;
  TrimSet trims_;
  SessionTable sessions_;
};

struct Shard::Imported {
  Shard shard;
  ImageStamp stamp;
};

}  // namespace ballast::master
