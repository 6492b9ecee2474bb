// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/routing/shard_router.h"
#include "gmock/gmock.h"
#include "services/master/core/master_machine.h"

namespace ballast::master {

// The smallest key "k<n>" of a shard, n >= from.
inline std::string KeyIn(uint32_t shard, uint32_t shard_count, int from = 0) {
  for (int n = from;; ++n) {
    std::string key = absl::StrCat("k", n);
    if (ShardOfKey(key, shard_count) == ShardId(shard)) return key;
  }
}

inline mlog::Command Configuration(uint64_t version, std::vector<uint32_t> owners) {
  mlog::Command command;
  auto& op = *command.mutable_apply_configuration();
  op.set_version(version);
  for (uint32_t owner : owners) op.add_shard_owner(owner);
  return command;
}

// A machine of group 1 and the shortest way to give it commands: one entry each, indexes 1, 2, ...
class TestMachine {
 public:
  static constexpr uint64_t kGraceMs = 600'000;
  static constexpr uint64_t kExpiryMs = 3'600'000;

  // With `owned`, configuration 1 gives every shard to group 1.
  explicit TestMachine(uint32_t shard_count = 1, bool owned = true)
      : machine(GroupId(1), shard_count) {
    if (owned) {
      CHECK_EQ(Apply(Configuration(1, std::vector<uint32_t>(shard_count, 1))).code(), 0u);
    }
  }

  mlog::Result Apply(const mlog::Command& command) {
    mlog::Entry entry;
    entry.set_stamp_ms(now_ms);
    *entry.add_commands() = command;
    return Apply(entry).at(0);
  }
  std::vector<mlog::Result> Apply(const mlog::Entry& entry) {
    mlog::EntryResult results;
    CHECK(
        results.ParseFromString(machine.Apply(RaftIndex(++last_index), entry.SerializeAsString())));
    return {results.results().begin(), results.results().end()};
  }

  uint64_t OpenSession(uint32_t shard = 0) {
    mlog::Command command;
    command.set_shard(shard);
    command.mutable_open_session();
    return Apply(command).session_id();
  }
  // A command of shard 0 as the next request of the fixture's own session.
  mlog::Command Next() {
    if (session == 0) session = OpenSession();
    mlog::Command command;
    command.mutable_request()->set_session_id(session);
    command.mutable_request()->set_sequence(++sequence);
    command.mutable_request()->set_first_incomplete(sequence);
    command.mutable_request()->set_fingerprint(static_cast<uint32_t>(sequence * 77));
    return command;
  }

  mlog::Command PutCommand(absl::string_view key, absl::string_view value) {
    mlog::Command command = Next();
    auto& op = *command.mutable_put_inline();
    op.set_key(std::string(key));
    op.set_value(std::string(value));
    op.set_crc32c(ComputeCrc32c(value).value);
    op.set_grace_ms(kGraceMs);
    return command;
  }
  mlog::Result Put(absl::string_view key, absl::string_view value) {
    return Apply(PutCommand(key, value));
  }
  mlog::Result Delete(absl::string_view key) {
    mlog::Command command = Next();
    command.mutable_delete_object()->set_key(std::string(key));
    command.mutable_delete_object()->set_grace_ms(kGraceMs);
    return Apply(command);
  }
  mlog::Result Begin(absl::string_view key, uint32_t chunk_count) {
    mlog::Command command = Next();
    auto& op = *command.mutable_begin_write();
    op.set_key(std::string(key));
    op.set_wanted_replicas(3);
    op.set_required_replicas(2);
    op.set_chunk_count(chunk_count);
    op.set_expiry_ms(kExpiryMs);
    return Apply(command);
  }
  mlog::Result Allocate(uint64_t draft, uint32_t chunk_count) {
    mlog::Command command = Next();
    command.mutable_allocate_chunks()->set_draft_id(draft);
    command.mutable_allocate_chunks()->set_chunk_count(chunk_count);
    return Apply(command);
  }
  struct Chunk {
    uint64_t sequence;
    uint64_t position;
    uint32_t length;
    uint32_t crc;
  };
  static mlog::SealedChunk ToSealed(const Chunk& chunk,
                                    std::initializer_list<uint32_t> servers = {1, 2, 3}) {
    mlog::SealedChunk out;
    out.set_handle(chunk.sequence);
    out.set_position(chunk.position);
    out.set_length_bytes(chunk.length);
    out.set_crc32c(chunk.crc);
    for (uint32_t server : servers) out.add_server_indexes(server);
    return out;
  }
  mlog::Result Seal(uint64_t draft, const std::vector<Chunk>& chunks) {
    mlog::Command command = Next();
    command.mutable_seal_chunks()->set_draft_id(draft);
    for (const Chunk& chunk : chunks) {
      *command.mutable_seal_chunks()->add_chunks() = ToSealed(chunk);
    }
    return Apply(command);
  }
  // A commit of these chunks, in object order.
  mlog::Command CommitCommand(absl::string_view key, uint64_t draft,
                              const std::vector<Chunk>& chunks) {
    mlog::Command command = Next();
    auto& op = *command.mutable_commit();
    op.set_key(std::string(key));
    op.set_draft_id(draft);
    op.set_chunk_count(chunks.size());
    Crc32c crc;
    uint64_t bytes = 0;
    for (const Chunk& chunk : chunks) {
      crc = ConcatCrc32c(crc, Crc32c{chunk.crc}, chunk.length);
      bytes += chunk.length;
    }
    op.set_size_bytes(bytes);
    op.set_crc32c(crc.value);
    op.set_grace_ms(kGraceMs);
    return command;
  }
  // Chunks of `lengths` on fresh handles of a fresh draft, sealed.
  std::pair<uint64_t, std::vector<Chunk>> Write(absl::string_view key,
                                                const std::vector<uint32_t>& lengths) {
    const mlog::Result begun = Begin(key, static_cast<uint32_t>(lengths.size()));
    std::vector<Chunk> chunks;
    for (size_t i = 0; i < lengths.size(); ++i) {
      chunks.push_back(
          {begun.allocated().first_sequence() + i, i, lengths[i], static_cast<uint32_t>(1000 + i)});
    }
    CHECK_EQ(Seal(begun.draft_id(), chunks).code(), 0u);
    return {begun.draft_id(), chunks};
  }
  mlog::Result PutChunks(absl::string_view key, const std::vector<uint32_t>& lengths) {
    const auto [draft, chunks] = Write(key, lengths);
    return Apply(CommitCommand(key, draft, chunks));
  }

  const Shard& shard(uint32_t id = 0) { return *machine.FindShard(ShardId(id)); }
  static ChunkHandle Handle(uint64_t sequence) { return ChunkHandle(ShardId(0), sequence); }

  std::vector<std::string> Images() const {
    std::vector<std::string> images;
    for (const std::string& name : machine.ImageNames()) images.push_back(machine.TakeImage(name));
    return images;
  }

  MasterMachine machine;
  uint64_t now_ms = 1000;
  uint64_t last_index = 0;
  uint64_t session = 0;
  uint64_t sequence = 0;
};

MATCHER(Succeeded, "") {
  *result_listener << arg.ShortDebugString();
  return arg.code() == 0;
}

// A definite refusal for this reason, with the reason's own code.
MATCHER_P(RefusedFor, reason, "") {
  *result_listener << arg.ShortDebugString();
  return arg.reason() == static_cast<uint32_t>(reason) &&
         arg.code() == static_cast<uint32_t>(CodeOf(static_cast<v1::Reason>(reason)));
}

}  // namespace ballast::master
