// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/draft_table.h"

#include <algorithm>
#include <limits>

#include "common/base/check.h"
#include "common/types/key.h"
#include "common/types/limits.h"

namespace ballast::master {

uint64_t Draft::due_ms() const {
  const uint64_t due = renewed_ms + expiry_ms;
  return due < renewed_ms ? std::numeric_limits<uint64_t>::max() : due;
}

bool Draft::Owns(uint64_t sequence) const {
  const auto after = std::upper_bound(allocated_.begin(), allocated_.end(), sequence,
                                      [](uint64_t s, const Run& run) { return s < run.first; });
  return after != allocated_.begin() && sequence < (after - 1)->end();
}

uint64_t Draft::SequenceAt(uint64_t position) const {
  if (position >= prefix_count_) {
    const auto it = pending_.find(static_cast<uint32_t>(position));
    return position > kChunksPerObjectMax || it == pending_.end() ? 0 : it->second;
  }
  const auto after =
      std::upper_bound(prefix_.begin(), prefix_.end(), position,
                       [](uint64_t p, const PositionedRun& part) { return p < part.position; });
  const PositionedRun& part = *(after - 1);
  return part.run.first + (position - part.position);
}

void Draft::Seal(uint64_t position, uint64_t sequence, const ChunkTable& table) {
  CHECK_LT(position, kChunksPerObjectMax);
  CHECK_EQ(SequenceAt(position), 0u);
  if (position != prefix_count_) {
    pending_.emplace(static_cast<uint32_t>(position), sequence);
    return;
  }
  ExtendPrefix(sequence, table);
  auto next = pending_.begin();
  while (next != pending_.end() && next->first == prefix_count_) {
    ExtendPrefix(next->second, table);
    ++next;
  }
  pending_.erase(pending_.begin(), next);
}

void Draft::ExtendPrefix(uint64_t sequence, const ChunkTable& table) {
  const ChunkRecord* chunk = table.Find(sequence);
  CHECK(chunk != nullptr) << " sequence " << sequence;
  const uint32_t length = chunk->length_bytes();
  if (prefix_count_ == 0) {
    first_length_ = length;
  } else if (last_length_ != first_length_ || length > first_length_) {
    prefix_even_ = false;
  }
  last_length_ = length;
  prefix_crc32c_ = ConcatCrc32c(prefix_crc32c_, chunk->crc32c(), length);
  prefix_bytes_ += length;
  if (!prefix_.empty() && prefix_.back().run.end() == sequence) {
    ++prefix_.back().run.count;
  } else {
    prefix_.push_back({prefix_count_, {sequence, 1}});
  }
  ++prefix_count_;
}

Runs Draft::PrefixRuns() const {
  Runs runs;
  runs.reserve(prefix_.size());
  for (const PositionedRun& part : prefix_) runs.push_back(part.run);
  return runs;
}

std::vector<Draft::PositionedRun> Draft::SealedRuns() const {
  std::vector<PositionedRun> parts = prefix_;
  for (const auto& [position, sequence] : pending_) {
    if (!parts.empty() && parts.back().run.end() == sequence &&
        parts.back().position + parts.back().run.count == position) {
      ++parts.back().run.count;
    } else {
      parts.push_back({position, {sequence, 1}});
    }
  }
  return parts;
}

const Draft* DraftTable::Find(DraftId id) const {
  const auto it = drafts_.find(id);
  return it == drafts_.end() ? nullptr : it->second.get();
}

Draft* DraftTable::Find(DraftId id) {
  return const_cast<Draft*>(static_cast<const DraftTable*>(this)->Find(id));
}

Draft& DraftTable::Insert(Draft draft) {
  CHECK_EQ(draft.allocated_count_, 0u);
  const DraftId id = draft.id;
  by_due_.emplace(draft.due_ms(), id);
  const auto [it, inserted] = drafts_.emplace(id, std::make_unique<Draft>(std::move(draft)));
  CHECK(inserted) << " draft " << id;
  return *it->second;
}

void DraftTable::Erase(DraftId id) {
  const auto it = drafts_.find(id);
  CHECK(it != drafts_.end()) << " draft " << id;
  for (const Run& run : it->second->allocated_) owned_.erase(run.first);
  by_due_.erase({it->second->due_ms(), id});
  drafts_.erase(it);
}

void DraftTable::Renew(Draft& draft, uint64_t now_ms) {
  if (draft.renewed_ms == now_ms) return;
  by_due_.erase({draft.due_ms(), draft.id});
  draft.renewed_ms = now_ms;
  by_due_.emplace(draft.due_ms(), draft.id);
}

void DraftTable::Allocate(Draft& draft, Run run) {
  CHECK_GT(run.count, 0u);
  CHECK(owned_.empty() || owned_.rbegin()->second.end <= run.first);
  AppendRun(draft.allocated_, run);
  draft.allocated_count_ += run.count;
  const Run& last = draft.allocated_.back();
  owned_[last.first] = OwnedRun{last.end(), draft.id};
}

bool DraftTable::Owns(uint64_t sequence) const {
  const auto after = owned_.upper_bound(sequence);
  return after != owned_.begin() && sequence < std::prev(after)->second.end;
}

std::vector<DraftId> DraftTable::Due(uint64_t now_ms, size_t limit) const {
  std::vector<DraftId> ids;
  for (const auto& [due_ms, id] : by_due_) {
    if (ids.size() == limit || due_ms > now_ms) break;
    ids.push_back(id);
  }
  return ids;
}

mlog::Draft DraftTable::ToProto(const Draft& draft) {
  mlog::Draft proto;
  proto.set_draft_id(draft.id.value());
  proto.set_key(draft.key);
  proto.set_wanted_replicas(draft.wanted_replicas);
  proto.set_required_replicas(draft.required_replicas);
  proto.set_renewed_ms(draft.renewed_ms);
  proto.set_expiry_ms(draft.expiry_ms);
  for (const Run& run : draft.allocated_) {
    mlog::Run& out = *proto.add_allocated();
    out.set_first_sequence(run.first);
    out.set_count(run.count);
  }
  draft.ForEachSealedRun([&proto](const Draft::PositionedRun& part) {
    mlog::Draft::Sealed& out = *proto.add_sealed();
    out.set_position(part.position);
    out.set_sequence(part.run.first);
    out.set_count(part.run.count);
  });
  return proto;
}

bool DraftTable::Import(const mlog::Draft& proto, uint64_t allocated_mark, ChunkTable& table) {
  const DraftId id(proto.draft_id());
  if (!drafts_.empty() && drafts_.rbegin()->first >= id) return false;
  if (drafts_.size() >= kDraftsPerShardMax || !ValidateKey(proto.key()).ok() ||
      proto.required_replicas() == 0 || proto.required_replicas() > proto.wanted_replicas() ||
      proto.wanted_replicas() > kReplicasMax) {
    return false;
  }
  Draft fresh;
  fresh.id = id;
  fresh.key = proto.key();
  fresh.wanted_replicas = proto.wanted_replicas();
  fresh.required_replicas = proto.required_replicas();
  fresh.renewed_ms = proto.renewed_ms();
  fresh.expiry_ms = proto.expiry_ms();
  Draft& draft = Insert(std::move(fresh));
  uint64_t last = 0;  // highest sequence so far
  for (const mlog::Run& run : proto.allocated()) {
    if (run.count() == 0 || run.count() > kDraftHandlesMax || run.first_sequence() <= last ||
        run.first_sequence() > allocated_mark ||
        run.count() - 1 > allocated_mark - run.first_sequence()) {
      return false;
    }
    last = run.first_sequence() + run.count() - 1;
    draft.allocated_count_ += run.count();
    if (draft.allocated_count_ > kDraftHandlesMax) return false;
    // Another draft's run that overlaps this one.
    const auto after = owned_.upper_bound(last);
    if (after != owned_.begin() && std::prev(after)->second.end > run.first_sequence())
      return false;
    draft.allocated_.push_back({run.first_sequence(), run.count()});
    owned_[run.first_sequence()] = OwnedRun{last + 1, id};
  }
  uint64_t next_position = 0;
  for (const mlog::Draft::Sealed& part : proto.sealed()) {
    if (part.count() == 0 || part.count() > kChunksPerObjectMax ||
        part.position() < next_position || part.position() > kChunksPerObjectMax - part.count()) {
      return false;
    }
    next_position = part.position() + part.count();
    for (uint64_t i = 0; i < part.count(); ++i) {
      const uint64_t sequence = part.sequence() + i;
      if (!draft.Owns(sequence) || !table.Mark(sequence)) return false;
      draft.Seal(part.position() + i, sequence, table);
    }
  }
  return true;
}

}  // namespace ballast::master
