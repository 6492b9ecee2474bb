// SPDX-License-Identifier: Apache-2.0
// Memory of a leader for each chunk: fills a master's replicated state, in this process, with
// objects of 1,000 chunks by the commands that clients' requests become, and its replica map with
// full lists of three servers that hold every chunk; reads the resident size at two fillings. What
// is between the two is the cost of a chunk, keys and all.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/cli/command_line.h"
#include "common/routing/replica_digest.h"
#include "common/routing/shard_router.h"
#include "protos/master_log.pb.h"
#include "services/master/core/live_replicas.h"
#include "services/master/core/machine_catalog.h"
#include "services/master/core/master_machine.h"

namespace ballast::master {
namespace {

constexpr uint32_t kShards = 256;
constexpr uint64_t kChunksOfObject = 1000;
constexpr uint64_t kSealed = 250;
constexpr uint32_t kLengthBytes = 1 << 20;
constexpr uint32_t kServers = 3;

uint64_t ResidentBytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmRSS:", 0) == 0) {
      return std::stoull(line.substr(6)) * 1024;
    }
  }
  return 0;
}

class Leader {
 public:
  Leader() : machine_(GroupId(1), kShards), catalog_(machine_), replicas_(catalog_) {
    mlog::Command configuration;
    configuration.mutable_apply_configuration()->set_version(1);
    for (uint32_t shard = 0; shard < kShards; ++shard) {
      configuration.mutable_apply_configuration()->add_shard_owner(1);
    }
    Apply(configuration);
    catalog_.Invalidate();
    for (uint32_t shard = 0; shard < kShards; ++shard) {
      mlog::Command open;
      open.set_shard(shard);
      open.mutable_open_session();
      sessions_.push_back({Apply(open).session_id(), 0});
    }
  }

  void AddObject(uint64_t number) {
    const std::string key = absl::StrCat("object/", number);
    const ShardId shard = ShardOfKey(key, kShards);
    mlog::Command begin = Request(shard);
    begin.mutable_begin_write()->set_key(key);
    begin.mutable_begin_write()->set_wanted_replicas(kServers);
    begin.mutable_begin_write()->set_required_replicas(1);
    begin.mutable_begin_write()->set_expiry_ms(3600'000);
    const uint64_t draft = Apply(begin).draft_id();
    Crc32c crc;
    for (uint64_t position = 0; position < kChunksOfObject; position += kSealed) {
      mlog::Command allocate = Request(shard);
      allocate.mutable_allocate_chunks()->set_draft_id(draft);
      allocate.mutable_allocate_chunks()->set_chunk_count(kSealed);
      Seal(shard, draft, position, Apply(allocate).allocated().first_sequence(), crc);
    }
    mlog::Command commit = Request(shard);
    commit.mutable_commit()->set_key(key);
    commit.mutable_commit()->set_draft_id(draft);
    commit.mutable_commit()->set_size_bytes(kChunksOfObject * kLengthBytes);
    commit.mutable_commit()->set_chunk_count(kChunksOfObject);
    commit.mutable_commit()->set_crc32c(crc.value);
    Apply(commit);
  }

  // All servers list all they hold.
  void Report() {
    for (uint32_t server = 1; server <= kServers; ++server) {
      for (uint32_t shard = 0; shard < kShards; ++shard) {
        v1::ShardReport list;
        ReplicaDigest digest;
        list.set_shard(shard);
        list.set_full_begin(true);
        list.set_full_end(true);
        catalog_.chunks(ShardId(shard))
            ->ForEach(0, ChunkHandle::kSequenceMax, [&](uint64_t sequence, const ChunkRecord& r) {
              const ChunkHandle handle(ShardId(shard), sequence);
              v1::ReplicaReport& replica = *list.add_replicas();
              replica.set_handle(handle.value());
              replica.set_length_bytes(r.length_bytes());
              replica.set_crc32c(r.crc32c().value);
              digest.Add(handle, {r.length_bytes(), r.crc32c().value, false});
            });
        list.set_digest(digest.value());
        list.set_replica_count(static_cast<uint64_t>(list.replicas_size()));
        LiveReplicas::Cursor cursor;
        int64_t work = LiveReplicas::kNoBound;
        CHECK_OK(replicas_.Ingest(ServerIndex(server), list, cursor, work, SteadyTime()).status());
        CHECK(replicas_.IsComplete(ServerIndex(server), ShardId(shard)));
      }
    }
  }
  uint64_t chunks() const { return machine_.Count().chunks; }

 private:
  struct Session {
    uint64_t id = 0;
    uint64_t sequence = 0;
  };
  mlog::Command Request(ShardId shard) {
    Session& session = sessions_[shard.value()];
    mlog::Command command;
    command.set_shard(shard.value());
    command.mutable_request()->set_session_id(session.id);
    command.mutable_request()->set_sequence(++session.sequence);
    command.mutable_request()->set_first_incomplete(session.sequence);
    return command;
  }
  void Seal(ShardId shard, uint64_t draft, uint64_t position, uint64_t first_sequence,
            Crc32c& crc) {
    mlog::Command seal = Request(shard);
    seal.mutable_seal_chunks()->set_draft_id(draft);
    for (uint64_t i = 0; i < kSealed; ++i) {
      const ChunkHandle handle(shard, first_sequence + i);
      const Crc32c own{static_cast<uint32_t>(handle.value() * 2654435761u)};
      mlog::SealedChunk& chunk = *seal.mutable_seal_chunks()->add_chunks();
      chunk.set_handle(handle.value());
      chunk.set_position(position + i);
      chunk.set_length_bytes(kLengthBytes);
      chunk.set_crc32c(own.value);
      for (uint32_t server = 1; server <= kServers; ++server) {
        chunk.add_server_indexes(server);
      }
      crc = ConcatCrc32c(crc, own, kLengthBytes);
    }
    Apply(seal);
  }
  mlog::Result Apply(const mlog::Command& command) {
    mlog::Entry entry;
    entry.set_stamp_ms(1000);
    *entry.add_commands() = command;
    mlog::EntryResult result;
    CHECK(result.ParseFromString(machine_.Apply(RaftIndex(++index_), entry.SerializeAsString())));
    CHECK_EQ(result.results(0).code(), 0u) << result.results(0).text();
    return result.results(0);
  }

  MasterMachine machine_;
  MachineCatalog catalog_;
  LiveReplicas replicas_;
  std::vector<Session> sessions_;
  uint64_t index_ = 0;
};

int Main(int argc, char** argv) {
  uint64_t few = 1'000'000;
  uint64_t many = 10'000'000;
  CommandLine line("replica_memory_bench", "Memory of a leader for each chunk.", "BALLAST_BENCH");
  line.global()
      .Uint("--few", &few, "Chunks at the first reading.")
      .Uint("--many", &many, "Chunks at the second one.");
  line.ParseOrExit(argc, argv);
  CHECK_LT(few, many);
  Leader leader;
  uint64_t objects = 0;
  const auto fill = [&](uint64_t chunks) {
    while (objects * kChunksOfObject < chunks) {
      leader.AddObject(objects++);
    }
    leader.Report();
    return ResidentBytes();
  };
  const uint64_t before = fill(few);
  const uint64_t after = fill(many);
  nlohmann::ordered_json out;
  out["chunks"] = leader.chunks();
  out["replicas"] = leader.chunks() * kServers;
  out["resident_few"] = before;
  out["resident_many"] = after;
  out["bytes_per_chunk"] =
      (static_cast<double>(after) - static_cast<double>(before)) / static_cast<double>(many - few);
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace ballast::master

int main(int argc, char** argv) { return ballast::master::Main(argc, argv); }
