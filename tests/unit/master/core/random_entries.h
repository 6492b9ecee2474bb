// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "tests/unit/master/core/machine_fixture.h"

namespace ballast::master {

// Makes random entries that look like a leader's work on a machine: mostly sensible, often
// repeated, late or wrong. What it draws from the machine's present state makes deep states
// reachable.
class RandomEntries {
 public:
  RandomEntries(Rng& rng, const MasterMachine& machine) : rng_(rng), machine_(machine) {
    for (int i = 0; i < 12; ++i) keys_.push_back(absl::StrCat("key", i));
  }

  mlog::Entry Next() {
    mlog::Entry entry;
    now_ms_ += rng_.Below(30);
    if (rng_.OneIn(40)) now_ms_ += 500;
    entry.set_stamp_ms(now_ms_ - rng_.Below(3));
    const uint64_t count = rng_.Between(1, 4);
    for (uint64_t i = 0; i < count; ++i) {
      if (!sent_.empty() && rng_.OneIn(8)) {  // a retry, maybe late
        *entry.add_commands() = sent_[rng_.Below(sent_.size())];
      } else {
        *entry.add_commands() = NextCommand();
      }
    }
    return entry;
  }

 private:
  mlog::Command NextCommand() {
    mlog::Command command;
    const uint32_t shard = static_cast<uint32_t>(rng_.Below(machine_.shard_count()));
    command.set_shard(shard);
    const uint64_t kind = rng_.Below(100);
    if (kind < 6) {
      command.mutable_open_session();
    } else if (kind < 7) {
      command.mutable_close_session()->set_session_id(Id(shard, rng_.Between(1, 30)));
    } else if (kind < 9) {
      command.mutable_expire_sessions()->add_session_ids(Id(shard, rng_.Between(1, 30)));
      command.mutable_expire_sessions()->set_idle_ms(rng_.Below(400));
    } else if (kind < 12) {
      command.mutable_remove_doomed()->set_handles_max(static_cast<uint32_t>(rng_.Below(4)));
    } else if (kind < 15) {
      command.mutable_expire_drafts()->add_draft_ids(Draft(shard));
      command.mutable_expire_drafts()->add_draft_ids(Draft(shard));
    } else if (kind < 18) {
      AddLocations(shard, *command.mutable_update_locations());
    } else if (kind < 20) {
      auto& op = *command.mutable_trim();
      op.set_handle(Handle(shard));
      op.set_server_index(static_cast<uint32_t>(rng_.Below(9)));
      op.set_keep_replicas(static_cast<uint32_t>(rng_.Below(7)));
    } else if (kind < 21) {
      command.mutable_finish_trim()->set_handle(Handle(shard));
      command.mutable_finish_trim()->set_server_index(static_cast<uint32_t>(rng_.Below(9)));
    } else if (kind < 23) {
      command = Configuration(machine_.config_version().value() + (rng_.OneIn(3) ? 0 : 1),
                              RandomOwners());
    } else {
      command = ClientCommand(kind);
      sent_.push_back(command);
      if (sent_.size() > 200) sent_.erase(sent_.begin());
    }
    return command;
  }

  mlog::Command ClientCommand(uint64_t kind) {
    mlog::Command command;
    const std::string key = keys_[rng_.Below(keys_.size())];
    uint32_t shard = machine_.ShardOf(key).value();
    if (rng_.OneIn(50)) shard = static_cast<uint32_t>(rng_.Below(machine_.shard_count()));
    command.set_shard(shard);
    mlog::Request& request = *command.mutable_request();
    request.set_session_id(Id(shard, rng_.Between(1, 12)));
    request.set_sequence(++sequence_ - rng_.Below(3));
    request.set_first_incomplete(request.sequence() - std::min(request.sequence(), rng_.Below(40)));
    request.set_fingerprint(static_cast<uint32_t>(rng_.Below(30) ? sequence_ : 1));
    if (kind < 40) {
      auto& op = *command.mutable_put_inline();
      op.set_key(key);
      op.set_value(std::string(rng_.Below(20), 'v'));
      op.set_crc32c(ComputeCrc32c(op.value()).value + (rng_.OneIn(30) ? 1 : 0));
      op.set_grace_ms(rng_.Below(200));
      if (rng_.OneIn(4)) op.set_if_generation_match(GenerationOf(key));
      if (rng_.OneIn(4)) op.add_metadata()->set_name("n");
    } else if (kind < 47) {
      command.mutable_delete_object()->set_key(key);
      command.mutable_delete_object()->set_grace_ms(rng_.Below(200));
    } else if (kind < 57) {
      auto& op = *command.mutable_begin_write();
      op.set_key(key);
      op.set_wanted_replicas(static_cast<uint32_t>(rng_.Below(5)));
      op.set_required_replicas(1);
      op.set_chunk_count(static_cast<uint32_t>(rng_.Below(5)));
      op.set_expiry_ms(rng_.Below(800));
    } else if (kind < 62) {
      command.mutable_allocate_chunks()->set_draft_id(Draft(shard));
      command.mutable_allocate_chunks()->set_chunk_count(static_cast<uint32_t>(rng_.Below(3)));
    } else if (kind < 82) {
      AddSeals(shard, *command.mutable_seal_chunks());
    } else if (kind < 84) {
      command.mutable_set_replication()->set_key(key);
      command.mutable_set_replication()->set_wanted_replicas(static_cast<uint32_t>(rng_.Below(7)));
    } else if (kind < 97) {
      AddCommit(shard, *command.mutable_commit());
    } else {
      command.mutable_abort_write()->set_draft_id(Draft(shard));
    }
    return command;
  }

  static uint64_t Id(uint32_t shard, uint64_t sequence) {
    return ChunkHandle(ShardId(shard), sequence).value();
  }
  uint64_t Handle(uint32_t shard) {
    const Shard* state = machine_.FindShard(ShardId(shard));
    const uint64_t mark = state == nullptr ? 0 : state->allocated_mark();
    return Id(shard, mark - std::min(mark, rng_.Below(20)));
  }
  uint64_t Draft(uint32_t shard) {
    std::vector<uint64_t> ids;
    if (const Shard* state = machine_.FindShard(ShardId(shard))) {
      state->drafts().ForEach([&](const master::Draft& draft) { ids.push_back(draft.id.value()); });
    }
    if (ids.empty() || rng_.OneIn(20)) return Id(shard, rng_.Below(9));
    return ids[rng_.Below(ids.size())];
  }
  uint64_t GenerationOf(const std::string& key) {
    const auto object = machine_.FindObject(key);
    return object.ok() && rng_.Below(3) ? (*object)->generation().value() : rng_.Below(3);
  }
  // Mostly owners that need no migration, so that they are accepted.
  std::vector<uint32_t> RandomOwners() {
    std::vector<uint32_t> owners;
    for (uint32_t s = 0; s < machine_.shard_count(); ++s) {
      const Shard* shard = machine_.FindShard(ShardId(s));
      if (shard == nullptr) {
        owners.push_back(s % 4 == 3 ? 0 : 2);
      } else {  // served or frozen; either may change
        owners.push_back(shard->serving() != rng_.OneIn(shard->serving() ? 12 : 2) ? 1 : 0);
      }
    }
    if (machine_.config_version().value() == 0) {
      for (uint32_t s = 0; s < owners.size(); ++s) owners[s] = s % 4 == 3 ? 0 : s % 4 == 2 ? 2 : 1;
    } else if (rng_.OneIn(2)) {
      for (uint32_t s = 3; s < owners.size(); s += 4) owners[s] = 1;
    }
    if (rng_.OneIn(3)) owners[rng_.Below(owners.size())] = static_cast<uint32_t>(rng_.Below(3));
    return owners;
  }
  void AddLocations(uint32_t shard, mlog::Command::UpdateLocations& op) {
    for (int i = 0; i < 3; ++i) {
      auto& change = *op.add_changes();
      change.set_handle(Handle(shard));
      change.add_add_servers(static_cast<uint32_t>(rng_.Below(9)));
      change.add_drop_servers(static_cast<uint32_t>(rng_.Below(9)));
    }
  }
  void AddSeals(uint32_t shard, mlog::Command::SealChunks& op) {
    op.set_draft_id(Draft(shard));
    const master::Draft* draft = FindDraft(shard, op.draft_id());
    if (draft == nullptr || draft->allocated().empty()) return;
    const uint64_t count = rng_.Between(1, 3);
    for (uint64_t i = 0; i < count; ++i) {
      const Run& run = draft->allocated()[rng_.Below(draft->allocated().size())];
      const uint64_t sequence = run.first + rng_.Below(run.count + (rng_.OneIn(20) ? 1 : 0));
      const uint64_t position = rng_.OneIn(3) ? rng_.Below(4) : draft->prefix_count() + i;
      *op.add_chunks() = TestMachine::ToSealed(
          {Id(shard, sequence), position, 100, static_cast<uint32_t>(sequence * 7)},
          {static_cast<uint32_t>(rng_.Between(1, 4)), static_cast<uint32_t>(rng_.Between(5, 8))});
    }
  }
  void AddCommit(uint32_t shard, mlog::Command::Commit& op) {
    op.set_draft_id(Draft(shard));
    op.set_grace_ms(rng_.Below(200));
    op.set_key(keys_[0]);
    const master::Draft* draft = FindDraft(shard, op.draft_id());
    if (draft == nullptr) return;
    op.set_key(draft->key);
    op.set_chunk_count(draft->prefix_count());
    op.set_size_bytes(draft->prefix_bytes());
    op.set_crc32c(draft->prefix_crc32c().value + (rng_.OneIn(20) ? 1 : 0));
    if (rng_.OneIn(3)) op.set_if_generation_match(GenerationOf(op.key()));
  }
  const master::Draft* FindDraft(uint32_t shard, uint64_t id) {
    const Shard* state = machine_.FindShard(ShardId(shard));
    return state == nullptr ? nullptr : state->drafts().Find(DraftId(id));
  }

  Rng& rng_;
  const MasterMachine& machine_;
  std::vector<std::string> keys_;
  std::vector<mlog::Command> sent_;
  uint64_t now_ms_ = 1000;
  uint64_t sequence_ = 0;
};

}  // namespace ballast::master
