// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/trim_planner.h"

#include <iterator>
#include <optional>

namespace ballast::master {
namespace {

// fn(sequence, server, keep) for the trims of one chunk.
template <typename Fn>
void ForEachOf(const TrimSet& trims, uint64_t sequence, Fn&& fn) {
  trims.ForEachFrom({sequence, ServerIndex(0)},
                    [&](uint64_t at, ServerIndex server, uint32_t keep) {
                      if (at != sequence) {
                        return false;
                      }
                      fn(server, keep);
                      return true;
                    });
}

}  // namespace

void TrimPlanner::Note(ChunkHandle handle) {
  shards_.insert(handle.shard());
  noted_.insert(handle);
}

void TrimPlanner::Examine(const CopyView& view, Key key, uint32_t keep,
                          absl::FunctionRef<void(const TrimStep&)> emit) const {
  using Kind = TrimStep::Kind;
  const auto [handle, server] = key;
  const std::optional<ChunkStanding> chunk = view.FindChunk(handle);
  if (chunk.has_value() && view.FindServer(server).removed) {
    emit({Kind::kFinish, handle, server});
    return;
  }
  if (!chunk.has_value() || !view.IsListComplete(server, handle.shard())) {
    return;
  }
  const std::optional<uint32_t> held = view.HeldBytes(server, handle);
  if (!held.has_value()) {
    // With more holders than a record can name, one may be held and not seen.
    if (!chunk->full || chunk->Find(server) != nullptr) {
      emit({Kind::kFinish, handle, server});
    }
    return;
  }
  if (view.FindServer(server).gone()) {
    return;
  }
  if (kept_.contains(key)) {
    emit({Kind::kRevoke, handle, server});
    return;
  }
  const uint32_t needed = keep == 0 ? chunk->facts.wanted_replicas : keep;
  uint32_t firm = 0;
  uint32_t possible = 0;
  for (const ReplicaStanding& replica : chunk->replicas) {
    if (replica.server != server) {
      firm += replica.firm() ? 1 : 0;
      possible += replica.counts || replica.expected ? 1 : 0;
    }
  }
  const bool keeping = view.IsUnderWay(server, OrderKind::kKeep, handle);
  if (firm >= needed) {
    if (!keeping) {
      emit({Kind::kDelete, handle, server, *held});
    }
  } else if (possible >= needed) {
    for (const ReplicaStanding& replica : chunk->replicas) {
      if (replica.server != server && replica.counts && !replica.verified) {
        emit({Kind::kVerify, handle, replica.server});
      }
    }
  } else if (view.IsSettled(handle.shard())) {
    emit({Kind::kKeep, handle, server});
  }
}

void TrimPlanner::ExamineNoted(const CopyView& view, const ChunkCatalog& catalog,
                               size_t examine_max, absl::FunctionRef<void(const TrimStep&)> emit) {
  while (!noted_.empty() && examine_max-- > 0) {
    const ChunkHandle handle = *noted_.begin();
    noted_.erase(noted_.begin());
    const TrimSet* const trims = catalog.trims(handle.shard());
    for (auto it = kept_.lower_bound({handle, ServerIndex(0)});
         it != kept_.end() && it->first == handle;) {
      const bool over = trims == nullptr || !trims->Contains(handle.sequence(), it->second);
      it = over ? kept_.erase(it) : std::next(it);
    }
    if (trims != nullptr) {
      ForEachOf(*trims, handle.sequence(), [&](ServerIndex server, uint32_t keep) {
        Examine(view, {handle, server}, keep, emit);
      });
    }
  }
}

void TrimPlanner::Step(const CopyView& view, const ChunkCatalog& catalog, size_t examine_max,
                       absl::FunctionRef<void(const TrimStep&)> emit) {
  ExamineNoted(view, catalog, examine_max, emit);
  size_t examined = 0;
  auto shard = shards_.lower_bound(next_.first.shard());
  TrimSet::Key from = shard != shards_.end() && *shard == next_.first.shard()
                          ? TrimSet::Key(next_.first.sequence(), next_.second)
                          : TrimSet::Key();
  while (shard != shards_.end()) {
    const TrimSet* const trims = catalog.trims(*shard);
    if (trims == nullptr || trims->empty()) {
      shard = shards_.erase(shard);
      from = {};
      continue;
    }
    bool more = false;
    trims->ForEachFrom(from, [&](uint64_t sequence, ServerIndex server, uint32_t keep) {
      if (examined == examine_max) {
        next_ = {ChunkHandle(*shard, sequence), server};
        more = true;
        return false;
      }
      ++examined;
      Examine(view, {ChunkHandle(*shard, sequence), server}, keep, emit);
      return true;
    });
    if (more) {
      return;
    }
    ++shard;
    from = {};
  }
  next_ = Key();
}

}  // namespace ballast::master
