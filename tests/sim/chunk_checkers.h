// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/types/ids.h"
#include "services/chunkserver/store/chunk_store.h"
#include "services/master/control/live_view.h"
#include "services/master/core/master_machine.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/sim_scheduler.h"

namespace ballast::testing {

// A disk of the simulated world; outlives the processes that use it.
using DiskId = size_t;

// What must hold after every step (DESIGN.md section 7), judged from outside: from the committed
// log (a machine of its own applies it at once), from the disks' durable bytes, and from what
// clients were told; never from what a master or chunk server believes. The first broken rule goes
// to violation().
//
//   I1  an acknowledged chunk that the log refers to has a durable, sound replica
//   I2  no sound replica of such a chunk is removed but by a logged trim, and only while as many
//       others as the trim is to keep are sound and not trimmed themselves
//       and as long as nothing has gone wrong, only while the chunk's wanted number is left
//   I3  what a server returns are the bytes that were written under that handle
//   I6  nothing is removed that the log cannot account for; no server is declared dead before it
//   was
//       silent for a window of its judge's own running time
//   I7  in the end nothing is left over, and every chunk has its wanted replicas where there is
//   room
//
// Bytes that the faults destroyed are on the faults' account: MayDestroy says what they may, and a
// replica that rotted counts for I2 until some time after its server noticed, since a delete that
// was rightly ordered before may be carried out late.
//
// A master that runs on an old copy of its folder holds deleted objects' chunks to its own clock:
// once there was one, doomed chunks, which no object has any more, may go before their time. As
// long as nothing contradicts its metadata it may also move replicas, by trims in its own log,
// which are held to the same numbers.
//
// Concurrency: one thread. Lifetime: outlives the use of the disks it watches.
class ChunkChecker {
 public:
  ChunkChecker(SimScheduler& sim, uint64_t seed, GroupId group, uint32_t shard_count);

  const std::string& violation() const { return violation_; }
  void Violate(const std::string& what);

  // --- the log ---
  void OnCommit(RaftIndex index, absl::string_view command);
  const master::MasterMachine& log() const { return log_; }

  void OnOldFolder() { old_folder_ = true; }
  // The log of a master that runs on an old copy of its folder has changed; null: it has ended.
  void OnOldTrims(const master::MasterMachine* log);
  // From now on something may have gone wrong.
  void OnFault() { calm_ = false; }

  // --- disks ---
  // Watches what happens to the chunk files of `folder`.
  DiskId AddDisk(MemFileSystem& fs, const std::string& folder, const std::string& cluster_id,
                 uint64_t capacity_bytes);
  void SetServer(DiskId disk, ServerIndex server) { disks_[disk]->server = server; }
  ServerIndex ServerOn(DiskId disk) const { return disks_[disk]->server; }
  // The disk is gone for ever.
  void LoseDisk(DiskId disk);
  // Its process ended, perhaps with the power: everything on it may have changed, and what it
  // verified is to be verified again.
  void OnProcessEnd(DiskId disk);
  void OnRot(DiskId disk, ChunkHandle handle);
  // To be called when the server may have noticed damage to its replicas.
  void LookForNoticed(DiskId disk, chunkserver::ChunkStore& store);
  // True if the log could do without this replica, or this disk.
  bool MayDestroy(DiskId disk, ChunkHandle handle) const;
  bool MayDestroy(DiskId disk) const;
  std::vector<ChunkHandle> ChunksOn(DiskId disk) const;
  // Those with a sound replica of it.
  std::vector<DiskId> SoundOn(ChunkHandle handle) const;
  // Any chunk that the log has; none if it has none.
  std::optional<ChunkHandle> SomeChunk() const;

  // --- chunks and clients ---
  void OnChunkMade(ChunkHandle handle, std::shared_ptr<const std::string> bytes);
  // The server says that its replica is durable.
  void OnServerAck(DiskId disk, ChunkHandle handle);
  // The whole chain has said so, and the client was told.
  void OnChunkAcked(ChunkHandle handle);
  void OnRead(ChunkHandle handle, absl::string_view bytes);
  const std::string* BytesOf(ChunkHandle handle) const;

  // --- liveness ---
  // A master process began; `running` is its own running time.
  void OnHeartbeat(const std::string& master, ServerIndex server, absl::Duration running);
  void CheckLiveness(const std::string& master, master::LiveView& view, absl::Duration running);
  void ForgetMaster(const std::string& master) { judges_.erase(master); }

  // --- after every step ---
  void AfterStep();

  // --- when the faults are over ---
  // What is not as it should be yet; empty when all is well.
  std::string Unfinished() const;

  struct Counts {
    uint64_t chunks_acked = 0;
    uint64_t reads = 0;
    uint64_t removed = 0;  // chunk files
    uint64_t removed_by_trim = 0;
    uint64_t deaths = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Chunk {
    std::shared_ptr<const std::string> bytes;
    bool server_acked = false;  // by any server
    bool acked = false;
    size_t acked_on = 0;     // servers, at that time
    std::set<DiskId> sound;  // durable and whole
    // Taken by the faults, and until when a master may still have counted it.
    std::map<DiskId, absl::Duration> rotten;
  };
  struct Disk {
    MemFileSystem* fs = nullptr;
    std::string folder;
    std::string cluster_id;
    uint64_t capacity_bytes = 0;
    ServerIndex server;
    bool lost = false;
    std::set<ChunkHandle> touched;  // names that changed and were not synced
    std::set<ChunkHandle> rotting;  // rot that the process has not noticed
    std::set<ChunkHandle> unseen;   // likewise, nor one after it
  };
  struct Judge {
    RaftTerm term;
    absl::Duration term_began = absl::ZeroDuration();
    std::map<ServerIndex, absl::Duration> heard;
    std::set<ServerIndex> dead;
  };

  void OnDiskOperation(DiskId disk, const std::string& what);
  void CheckRemoval(DiskId disk, ChunkHandle handle);
  // Whether the log needs sound replicas of it.
  bool Needed(ChunkHandle handle, const Chunk& chunk) const;
  bool IsDoomed(ChunkHandle handle) const;
  absl::Duration Entitled() const;
  // What the log knows of this replica's trim: how many others are to be kept; none without a trim.
  std::optional<int> KeepOf(ChunkHandle handle, ServerIndex server) const;
  int OthersThatCount(DiskId disk, ChunkHandle handle, const Chunk& chunk, bool with_rotten) const;
  void Examine(DiskId disk, ChunkHandle handle);
  void CheckNotLost(ChunkHandle handle, const Chunk& chunk);
  std::string PathOf(const Disk& disk, ChunkHandle handle) const;
  // Another server has room for a replica of it, and no damaged one in the way.
  bool CouldHaveOneMore(ChunkHandle handle, const Chunk& chunk) const;
  uint64_t FreeBytes(const Disk& disk) const;

  SimScheduler& sim_;
  const uint64_t seed_;
  master::MasterMachine log_;
  std::map<ChunkHandle, Chunk> chunks_;
  std::vector<ChunkHandle> made_;
  std::vector<std::unique_ptr<Disk>> disks_;
  std::set<std::pair<DiskId, ChunkHandle>> dirty_;
  std::map<std::string, Judge> judges_;
  struct OldTrim {
    uint32_t keep = 0;
    absl::Duration until;  // a delete for it may be carried out
  };
  std::map<std::pair<ChunkHandle, ServerIndex>, OldTrim> old_trims_;
  bool old_folder_ = false;
  bool calm_ = true;
  Counts counts_;
  std::string violation_;
};

}  // namespace ballast::testing
