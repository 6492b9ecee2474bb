// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/chunkserver/control/chunk_copier.h"
#include "services/chunkserver/control/heartbeater.h"
#include "services/chunkserver/control/post_gate.h"
#include "services/chunkserver/control/traffic_control.h"
#include "services/chunkserver/store/chunk_store.h"
#include "services/chunkserver/store/server_identity.h"
#include "tests/sim/chunk_world.h"
#include "tests/sim/sim_chunk_sources.h"
#include "tests/sim/sim_process.h"
#include "tests/support/mem_file_system.h"

namespace ballast::testing {

// One chunk server process on a disk that outlives it: the parts of chunkserver::Server put
// together as there, without gRPC. Its disk pool is as unordered as a pool of threads.
//
// Destroying it is kill -9; whoever does so says with MemFileSystem::EndProcess or Crash what
// becomes of the disk. Concurrency: one thread. Ownership: world and disk outlive it.
class SimChunkServer {
 public:
  struct Place {
    std::string name;
    std::string address;
    std::string zone;
    NetNode node = 0;
    DiskId disk = 0;
    MemFileSystem* fs = nullptr;
    uint64_t capacity_bytes = 0;
  };
  static constexpr char kFolder[] = "/server";

  // `on_fatal`: the process should end; called at most once, not from within its own tasks.
  SimChunkServer(ChunkWorld& world, Place place, std::function<void(absl::Status)> on_fatal);
  ~SimChunkServer();

  // False: the folder does not open; only destruction makes sense.
  bool opened() const { return heartbeater_ != nullptr; }
  SimProcess& process() { return process_; }
  const Place& place() const { return place_; }
  chunkserver::ChunkStore* store() { return store_.get(); }
  const std::string& server_id() const { return identity_->server_id(); }
  // Slower or faster from now on.
  void SetDiskDelay(absl::Duration delay_max) { disk_delay_max_ = delay_max; }

  // --- the data service; replies run in this process ---
  using WriteReply = std::function<void(absl::Status)>;
  using ReadReply = std::function<void(absl::StatusOr<std::string>)>;
  // Writes the chunk here and on the servers at `rest`, all or nothing as far as it is told.
  void Write(ChunkHandle handle, std::shared_ptr<const std::string> bytes,
             std::vector<std::string> rest, WriteReply reply);
  // The whole chunk.
  void Read(ChunkHandle handle, ReadReply reply);
  // Whole blocks from `offset` on, for another server's copy.
  void ReadPart(ChunkHandle handle, uint64_t offset, uint64_t bytes_max, ChunkPartReply reply);

 private:
  struct Hop {
    ChunkHandle handle;
    std::shared_ptr<const std::string> bytes;
    WriteReply reply;
    std::unique_ptr<chunkserver::ChunkWriter> writer;
    bool prepared = false;
    bool downstream_done = false;
    bool committing = false;
  };
  void OnDisk(Task task);
  void CopyOnDisk(Task task);
  void EndCopies();
  void Register();
  void WatchShardctl();
  void Fatal(const absl::Status& status);
  void Forward(uint64_t id, const Hop& hop, std::vector<std::string> rest);
  void Receive(uint64_t id);
  void CommitIfReady(uint64_t id);
  void Finish(uint64_t id, const absl::Status& status);

  ChunkWorld& world_;
  const Place place_;
  const std::function<void(absl::Status)> on_fatal_;
  const std::shared_ptr<SimChunkServer*> alive_;
  absl::Duration disk_delay_max_ = absl::Milliseconds(5);
  SimProcess process_;
  std::unique_ptr<Executor> control_;
  std::unique_ptr<Executor> disk_;
  std::shared_ptr<chunkserver::PostGate> gate_;
  std::unique_ptr<chunkserver::ServerIdentity> identity_;
  std::unique_ptr<chunkserver::ChunkStore> store_;
  std::unique_ptr<chunkserver::MasterStreams> streams_;
  std::unique_ptr<SimChunkSources> sources_;
  uint64_t last_copy_task_ = 0;
  std::map<uint64_t, Task> copy_tasks_;  // on the disk pool
  std::unique_ptr<chunkserver::ChunkCopier> copier_;
  std::unique_ptr<chunkserver::TrafficControl> traffic_;
  std::unique_ptr<chunkserver::Heartbeater> heartbeater_;
  bool news_posted_ = false;
  bool fatal_ = false;
  bool configured_ = false;
  uint64_t registry_version_ = 0;
  uint64_t last_hop_ = 0;
  std::map<uint64_t, Hop> hops_;
};

}  // namespace ballast::testing
