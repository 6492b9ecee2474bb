// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "common/base/rng.h"
#include "gtest/gtest.h"
#include "tests/unit/master/core/machine_fixture.h"
#include "tests/unit/master/core/random_entries.h"

// A shard against a model that is slow, plain and written apart from it: the same random commands
// must have the same outcomes and leave the same state.

namespace ballast::master {
namespace {

struct Outcome {
  int reason = 0;
  uint64_t generation = 0;
  uint64_t session = 0;
  uint64_t draft = 0;
  uint64_t first = 0;
  uint64_t count = 0;
  friend bool operator==(const Outcome&, const Outcome&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Outcome& o) {
    return out << v1::Reason_Name(o.reason) << " generation " << o.generation << " session "
               << o.session << " draft " << o.draft << " handles " << o.first << "+" << o.count;
  }
};

Outcome Of(const mlog::Result& r) {
  return {static_cast<int>(r.reason()),   r.generation(),       r.session_id(), r.draft_id(),
          r.allocated().first_sequence(), r.allocated().count()};
}
Outcome No(v1::Reason reason) { return {reason}; }

struct ModelObject {
  uint64_t generation = 0;
  uint64_t size = 0;
  std::vector<uint64_t> chunks;
  uint64_t wanted = 0;  // 0: inline
};
struct ModelDraft {
  std::string key;
  uint64_t wanted = 0;
  uint64_t renewed = 0;
  uint64_t expiry = 0;
  std::set<uint64_t> handles;
  std::map<uint64_t, uint64_t> sealed;  // position -> sequence
};
struct ModelDoomed {
  uint64_t due = 0;
  ModelObject object;
};
struct ModelSession {
  uint64_t last_used = 0;
  uint64_t first_incomplete = 1;
  std::map<uint64_t, std::pair<uint32_t, Outcome>> replies;
};

class ModelShard {
 public:
  Outcome Apply(const mlog::Command& c, uint64_t now) {
    if (!served) return No(v1::REASON_WRONG_GROUP);
    now_ = now;
    if (!c.has_request()) return Execute(c);
    const mlog::Request& r = c.request();
    if (r.session_id() >> 48 != c.shard()) return No(v1::REASON_INVALID_ARGUMENT);
    const uint64_t first = std::max<uint64_t>(1, r.first_incomplete());
    if (r.sequence() < first) return No(v1::REASON_INVALID_ARGUMENT);
    if (!sessions.contains(r.session_id())) return No(v1::REASON_SESSION_EXPIRED);
    ModelSession& session = sessions[r.session_id()];
    session.last_used = now;
    session.first_incomplete = std::max(session.first_incomplete, first);
    std::erase_if(session.replies,
                  [&](const auto& reply) { return reply.first < session.first_incomplete; });
    if (r.sequence() < session.first_incomplete) return No(v1::REASON_SESSION_EXPIRED);
    if (session.replies.contains(r.sequence())) {
      const auto& [fingerprint, outcome] = session.replies[r.sequence()];
      return fingerprint == r.fingerprint() ? outcome : No(v1::REASON_REQUEST_REUSED);
    }
    const Outcome outcome = Execute(c);
    session.replies[r.sequence()] = {r.fingerprint(), outcome};
    return outcome;
  }

  std::set<uint64_t> KnownChunks() const {
    std::set<uint64_t> known;
    for (const auto& [key, object] : objects)
      known.insert(object.chunks.begin(), object.chunks.end());
    for (const ModelDoomed& one : doomed) {
      known.insert(one.object.chunks.begin(), one.object.chunks.end());
    }
    for (const auto& [id, draft] : drafts) {
      for (const auto& [position, sequence] : draft.sealed) known.insert(sequence);
    }
    return known;
  }
  std::set<uint64_t> Referenced() const {
    std::set<uint64_t> referenced = KnownChunks();
    for (const auto& [id, draft] : drafts) {
      referenced.insert(draft.handles.begin(), draft.handles.end());
    }
    return referenced;
  }

  uint64_t shard = 0;
  uint32_t shard_count = 1;
  bool served = true;  // false: frozen
  std::map<std::string, ModelObject> objects;
  std::map<uint64_t, ModelDraft> drafts;
  std::vector<ModelDoomed> doomed;
  std::map<uint64_t, ModelSession> sessions;
  uint64_t mark = 0, generations = 0, draft_ids = 0, session_ids = 0;

 private:
  uint64_t Id(uint64_t sequence) const { return shard << 48 | sequence; }
  bool KeyFits(const std::string& key) const {
    return ShardOfKey(key, shard_count).value() == shard;
  }

  Outcome Replace(const std::string& key, ModelObject fresh, uint64_t grace) {
    Doom(key, grace);
    fresh.generation = ++generations;
    objects[key] = fresh;
    return {0, fresh.generation};
  }
  void Doom(const std::string& key, uint64_t grace) {
    const auto it = objects.find(key);
    if (it != objects.end() && !it->second.chunks.empty()) {
      doomed.push_back({now_ + grace, it->second});
    }
  }
  template <typename Op>
  bool Mismatch(const Op& op) const {
    const auto it = objects.find(op.key());
    return op.has_if_generation_match() &&
           op.if_generation_match() != (it == objects.end() ? 0 : it->second.generation);
  }
  Outcome Give(uint64_t id, uint64_t count) {
    Outcome outcome{0, 0, 0, id, count ? mark + 1 : 0, count};
    for (uint64_t i = 0; i < count; ++i) drafts[id].handles.insert(++mark);
    return outcome;
  }

  Outcome Execute(const mlog::Command& c) {
    switch (c.op_case()) {
      case mlog::Command::kOpenSession:
        sessions[Id(++session_ids)].last_used = now_;
        return {0, 0, Id(session_ids)};
      case mlog::Command::kCloseSession:
        sessions.erase(c.close_session().session_id());
        return {};
      case mlog::Command::kExpireSessions:
        for (uint64_t id : c.expire_sessions().session_ids()) {
          if (sessions.contains(id) &&
              sessions[id].last_used + c.expire_sessions().idle_ms() <= now_) {
            sessions.erase(id);
          }
        }
        return {};
      case mlog::Command::kPutInline: {
        const auto& op = c.put_inline();
        if (!KeyFits(op.key()) || ComputeCrc32c(op.value()).value != op.crc32c()) {
          return No(v1::REASON_INVALID_ARGUMENT);
        }
        if (Mismatch(op)) return No(v1::REASON_GENERATION_MISMATCH);
        return Replace(op.key(), {0, op.value().size(), {}, 0}, op.grace_ms());
      }
      case mlog::Command::kDeleteObject: {
        const auto& op = c.delete_object();
        if (!KeyFits(op.key())) return No(v1::REASON_INVALID_ARGUMENT);
        if (!objects.contains(op.key())) return No(v1::REASON_OBJECT_NOT_FOUND);
        if (Mismatch(op)) return No(v1::REASON_GENERATION_MISMATCH);
        Doom(op.key(), op.grace_ms());
        const uint64_t generation = objects[op.key()].generation;
        objects.erase(op.key());
        return {0, generation};
      }
      case mlog::Command::kBeginWrite: {
        const auto& op = c.begin_write();
        if (!KeyFits(op.key()) || op.wanted_replicas() == 0) {
          return No(v1::REASON_INVALID_ARGUMENT);
        }
        const uint64_t id = Id(++draft_ids);
        drafts[id] = {op.key(), op.wanted_replicas(), now_, op.expiry_ms(), {}, {}};
        return Give(id, op.chunk_count());
      }
      case mlog::Command::kAllocateChunks: {
        const auto it = drafts.find(c.allocate_chunks().draft_id());
        if (it == drafts.end()) return No(v1::REASON_DRAFT_ENDED);
        it->second.renewed = now_;
        return Give(it->first, c.allocate_chunks().chunk_count());
      }
      case mlog::Command::kSealChunks:
        return Seal(c.seal_chunks());
      case mlog::Command::kCommit:
        return Commit(c.commit());
      case mlog::Command::kSetReplication: {
        const auto& op = c.set_replication();
        if (!KeyFits(op.key()) || op.wanted_replicas() < 1 || op.wanted_replicas() > 5) {
          return No(v1::REASON_INVALID_ARGUMENT);
        }
        if (!objects.contains(op.key())) return No(v1::REASON_OBJECT_NOT_FOUND);
        if (objects[op.key()].wanted == 0) return No(v1::REASON_OBJECT_INLINE);
        objects[op.key()].wanted = op.wanted_replicas();
        return {};
      }
      case mlog::Command::kAbortWrite:
        drafts.erase(c.abort_write().draft_id());
        return {};
      case mlog::Command::kExpireDrafts:
        for (uint64_t id : c.expire_drafts().draft_ids()) {
          if (drafts.contains(id) && drafts[id].renewed + drafts[id].expiry <= now_) {
            drafts.erase(id);
          }
        }
        return {};
      case mlog::Command::kRemoveDoomed:
        for (uint32_t i = 0; i < c.remove_doomed().handles_max(); ++i) RemoveOneDoomed();
        return {};
      case mlog::Command::kTrim: {
        const uint64_t sequence = c.trim().handle() & ChunkHandle::kSequenceMax;
        const bool good = c.trim().handle() >> 48 == shard && KnownChunks().contains(sequence) &&
                          c.trim().server_index() > 0 && c.trim().keep_replicas() <= 5;
        return good ? Outcome{} : No(v1::REASON_INVALID_ARGUMENT);
      }
      default:
        return {};
    }
  }

  void RemoveOneDoomed() {
    const auto it =
        std::min_element(doomed.begin(), doomed.end(), [](const auto& a, const auto& b) {
          return std::tie(a.due, a.object.generation) < std::tie(b.due, b.object.generation);
        });
    if (it == doomed.end() || it->due > now_) return;
    it->object.chunks.pop_back();
    if (it->object.chunks.empty()) doomed.erase(it);
  }

  Outcome Seal(const mlog::Command::SealChunks& op) {
    const auto it = drafts.find(op.draft_id());
    if (it == drafts.end()) return No(v1::REASON_DRAFT_ENDED);
    std::map<uint64_t, uint64_t> sealed = it->second.sealed;
    for (const mlog::SealedChunk& chunk : op.chunks()) {
      const uint64_t sequence = chunk.handle() & ChunkHandle::kSequenceMax;
      if (!it->second.handles.contains(sequence)) return No(v1::REASON_INVALID_ARGUMENT);
      // The generator gives a handle always the same facts but for its position. The same chunk
      // twice in one command is a mistake, unless it was sealed before.
      const auto before = it->second.sealed.find(chunk.position());
      if (before != it->second.sealed.end() && before->second == sequence) continue;
      const bool used = std::any_of(sealed.begin(), sealed.end(),
                                    [&](const auto& one) { return one.second == sequence; });
      if (used || sealed.contains(chunk.position())) return No(v1::REASON_INVALID_ARGUMENT);
      sealed[chunk.position()] = sequence;
    }
    it->second.sealed = sealed;
    it->second.renewed = now_;
    return {};
  }

  Outcome Commit(const mlog::Command::Commit& op) {
    const auto it = drafts.find(op.draft_id());
    if (it == drafts.end()) return No(v1::REASON_DRAFT_ENDED);
    ModelObject fresh;
    fresh.wanted = it->second.wanted;
    Crc32c crc;
    for (const auto& [position, sequence] : it->second.sealed) {
      if (position != fresh.chunks.size()) return No(v1::REASON_INVALID_ARGUMENT);
      fresh.chunks.push_back(sequence);
      fresh.size += 100;
      crc = ConcatCrc32c(crc, Crc32c{static_cast<uint32_t>(sequence * 7)}, 100);
    }
    if (op.key() != it->second.key || op.chunk_count() != fresh.chunks.size() ||
        op.size_bytes() != fresh.size || op.crc32c() != crc.value) {
      return No(v1::REASON_INVALID_ARGUMENT);
    }
    drafts.erase(it);
    if (Mismatch(op)) return No(v1::REASON_GENERATION_MISMATCH);
    return Replace(op.key(), fresh, op.grace_ms());
  }

  uint64_t now_ = 0;
};

void ExpectSameState(const ModelShard& model, const Shard& shard) {
  ASSERT_EQ(shard.objects().size(), model.objects.size());
  auto expected = model.objects.begin();
  shard.objects().Scan("", "", [&](const ObjectRecord& object) {
    EXPECT_EQ(object.key(), expected->first);
    EXPECT_EQ(object.generation().value(), expected->second.generation);
    EXPECT_EQ(object.size_bytes(), expected->second.size);
    std::vector<uint64_t> chunks;
    ForEachInRuns(object.chunks(), 0, 1000, [&](uint64_t, uint64_t s) { chunks.push_back(s); });
    EXPECT_EQ(chunks, expected->second.chunks);
    EXPECT_EQ(object.wanted_replicas(), expected->second.wanted);
    for (uint64_t s : chunks) {
      EXPECT_EQ(shard.chunks().Find(s)->wanted_replicas(), expected->second.wanted);
    }
    ++expected;
    return true;
  });
  std::set<uint64_t> chunks;
  shard.chunks().ForEach(0, std::numeric_limits<uint64_t>::max(),
                         [&](uint64_t s, const ChunkRecord&) { chunks.insert(s); });
  EXPECT_EQ(chunks, model.KnownChunks());
  EXPECT_EQ(shard.allocated_mark(), model.mark);
  const std::set<uint64_t> referenced = model.Referenced();
  for (uint64_t s = 0; s <= model.mark + 1; ++s) {
    ASSERT_EQ(shard.IsReferenced(s), referenced.contains(s)) << "sequence " << s;
    ASSERT_EQ(shard.IsProvableGarbage(s), s > 0 && s <= model.mark && !referenced.contains(s));
  }
  EXPECT_EQ(shard.drafts().size(), model.drafts.size());
  EXPECT_EQ(shard.doomed().size(), model.doomed.size());
  ASSERT_EQ(shard.sessions().size(), model.sessions.size());
}

TEST(ModelTest, RandomCommandsHaveTheModelsOutcomesAndLeaveItsState) {
  constexpr uint32_t kShards = 4;
  int accepted = 0;
  std::set<int> reasons;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Rng rng(seed);
    TestMachine m(kShards);
    std::vector<ModelShard> models(kShards);
    for (uint32_t s = 0; s < kShards; ++s) {
      models[s].shard = s;
      models[s].shard_count = kShards;
    }
    RandomEntries random(rng, m.machine);
    uint64_t now = m.now_ms;
    for (int step = 0; step < 1500; ++step) {
      mlog::Entry entry = random.Next();
      now = std::max(now, entry.stamp_ms());
      const std::vector<mlog::Result> results = m.Apply(entry);
      for (int i = 0; i < entry.commands_size(); ++i) {
        const mlog::Command& command = entry.commands(i);
        if (command.has_apply_configuration()) {  // what is accepted: MachineTest, FrozenTest
          for (uint32_t s = 0; s < kShards && results[i].code() == 0; ++s) {
            models[s].served = command.apply_configuration().shard_owner(static_cast<int>(s)) == 1;
          }
          continue;
        }
        const Outcome expected = models[command.shard()].Apply(command, now);
        ASSERT_EQ(Of(results[i]), expected) << "step " << step << " " << command.DebugString();
        accepted += expected.reason == 0;
        reasons.insert(expected.reason);
      }
      if (step % 20 == 0) {
        for (uint32_t s = 0; s < kShards; ++s) ExpectSameState(models[s], m.shard(s));
      }
      if (::testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(accepted, 5000);
  EXPECT_EQ(reasons.size(), 9u) << "OK and eight kinds of refusal were reached";
}

}  // namespace
}  // namespace ballast::master
