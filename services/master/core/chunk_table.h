// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "common/base/crc32c.h"
#include "common/base/rng.h"
#include "common/types/ids.h"
#include "common/types/limits.h"

namespace ballast::master {

// What is true of a sealed chunk for as long as it exists; only the replicas wanted may change.
struct ChunkFacts {
  uint32_t length_bytes = 0;  // 1..64 MiB
  Crc32c crc32c;
  uint32_t wanted_replicas = 0;  // 1..5
  friend bool operator==(const ChunkFacts&, const ChunkFacts&) = default;
};

using ServerList = absl::InlinedVector<ServerIndex, kReplicasMax>;

// One chunk in 30 bytes: its facts and up to 7 replicas, each a server and flags.
//
// A replica's flags are of two kinds. kLogged is durable: the replicated log says that the server
// holds the chunk; at most 5 are logged. All others are *live view*: what this leader has heard,
// kept only in memory, never part of an image, lost at any restart, and the business of whoever
// tracks heartbeats. This class gives the flags no meaning but: a slot is in use while any is set.
//
// Durable parts change only through ChunkTable; the public mutators touch the live view alone.
class ChunkRecord {
 public:
  static constexpr int kSlots = 7;

  enum Flag : uint8_t {
    kLogged = 1 << 0,
    kLive = 1 << 1,      // reported sound by its server, which may be dead by now
    kVerified = 1 << 2,  // its whole-chunk CRC was checked lately
    kCorrupt = 1 << 3,   // reported bad; does not count as a copy
  };
  static constexpr uint8_t kLiveViewMask = 0xFF & ~kLogged;

  uint32_t length_bytes() const { return LengthAndWanted() & kLengthMask; }
  uint32_t wanted_replicas() const { return (LengthAndWanted() >> kLengthBits) & kWantedMask; }
  Crc32c crc32c() const { return Crc32c{Join(crc_low_, crc_high_)}; }
  ChunkFacts facts() const { return {length_bytes(), crc32c(), wanted_replicas()}; }

  // Flags of the replica on `server`; 0 = none known.
  uint8_t FlagsOf(ServerIndex server) const;

  // Replicas that have every flag of `mask`.
  int CountWith(uint8_t mask) const;

  // fn(ServerIndex, uint8_t flags) for every replica, in no particular order.
  template <typename Fn>
  void ForEachReplica(Fn&& fn) const {
    for (int i = 0; i < kSlots; ++i) {
      if (servers_[i] != 0) fn(ServerIndex(servers_[i]), flags_[i]);
    }
  }

  // Servers whose replica is logged, ascending.
  ServerList LoggedServers() const;

  // Replaces the live flags of one replica (kLogged is kept as it is); 0 forgets them. False if
  // all slots are in use by others: a chunk with more than 7 holders, of which the rest stay
  // unknown until a slot is free.
  bool SetLiveFlags(ServerIndex server, uint8_t flags);

  // How often it was read lately (heat.h), as of its page's last ChunkTable::DecayHeat. Live view.
  uint8_t heat() const { return heat_; }

  // Forgets the whole live view of this chunk.
  void ClearLiveView();

 private:
  friend class ChunkTable;
  static constexpr int kLengthBits = 27;
  static constexpr uint32_t kLengthMask = (uint32_t{1} << kLengthBits) - 1;
  static constexpr uint32_t kWantedMask = 7;
  static constexpr uint32_t kMarkBit = uint32_t{1} << 31;
  static_assert(kChunkBytesMax <= kLengthMask && kReplicasMax <= kWantedMask);
  static_assert(uint64_t{kWantedMask} << kLengthBits < kMarkBit);
  static_assert(kReplicasMax <= kSlots);

  static uint32_t Join(uint16_t low, uint16_t high) { return low | (uint32_t{high} << 16); }
  uint32_t LengthAndWanted() const { return Join(length_low_, length_high_); }
  bool exists() const { return length_bytes() != 0; }
  int SlotOf(uint16_t server) const;
  // A free slot, else one without kLogged, whose live view is given up; -1 if all are logged.
  int SlotForLogged() const;
  void SetFacts(const ChunkFacts& facts);
  bool AddLogged(ServerIndex server);   // false: was logged already, or 5 are
  bool DropLogged(ServerIndex server);  // false: was not logged

  // Halves, so that the record needs no padding.
  uint16_t length_low_ = 0;
  uint16_t length_high_ = 0;
  uint16_t crc_low_ = 0;
  uint16_t crc_high_ = 0;
  std::array<uint16_t, kSlots> servers_{};  // 0 = free slot
  std::array<uint8_t, kSlots> flags_{};
  uint8_t heat_ = 0;
};
static_assert(sizeof(ChunkRecord) == 30);

// The sealed chunks of one shard, by sequence. Sequences are dense, so records lie in pages of 256
// that come and go with their chunks: 30.2 bytes a chunk when pages are full.
//
// Concurrency: none. Pointers to records stay valid until that record is erased.
class ChunkTable {
 public:
  static constexpr uint64_t kPageRecords = 256;

  size_t size() const { return size_; }
  // Of all chunks, each counted once.
  uint64_t length_sum() const { return length_sum_; }

  // Null if there is no such chunk.
  const ChunkRecord* Find(uint64_t sequence) const;
  ChunkRecord* Find(uint64_t sequence);

  // The first chunk's sequence that is >= `sequence`; none if there is none.
  std::optional<uint64_t> FirstFrom(uint64_t sequence) const;

  // fn(uint64_t sequence, record) for every chunk with begin <= sequence < end, ascending. `fn` may
  // change live views but must not insert or erase.
  template <typename Fn>
  void ForEach(uint64_t begin, uint64_t end, Fn&& fn) const {
    Visit(*this, begin, end, fn);
  }
  template <typename Fn>
  void ForEach(uint64_t begin, uint64_t end, Fn&& fn) {
    Visit(*this, begin, end, fn);
  }

  // Requires: no such chunk yet; length 1..64 MiB; wanted 1..5. At most 5 different servers are
  // taken.
  ChunkRecord& Insert(uint64_t sequence, const ChunkFacts& facts,
                      absl::Span<const ServerIndex> logged);

  // False if there was no such chunk.
  bool Erase(uint64_t sequence);

  // Logged locations of an existing chunk: drops, then adds while fewer than 5 are logged. True if
  // anything changed.
  bool ChangeLogged(uint64_t sequence, absl::Span<const ServerIndex> add,
                    absl::Span<const ServerIndex> drop);

  // Counts reads of a chunk at a heat epoch (heat.h). False if there is no such chunk.
  bool AddReads(uint64_t sequence, uint64_t reads, uint32_t epoch, Rng& rng);
  // Brings the heat of all chunks with begin <= sequence < end to `epoch`; epochs never go back.
  void DecayHeat(uint64_t begin, uint64_t end, uint32_t epoch);

  // Replicas wanted, 1..5, of all chunks with begin <= sequence < end. Live views stay.
  void SetWanted(uint64_t begin, uint64_t end, uint32_t wanted_replicas);

  // For import's proof that every chunk has exactly one owner: false if there is no such chunk or
  // it was marked before. Marks are cleared by ClearMarks.
  bool Mark(uint64_t sequence);
  void ClearMarks();

  // Bytes of memory of the pages and their directory, without the allocator's own.
  size_t memory_bytes() const;

 private:
  struct Page {
    uint32_t used = 0;
    uint32_t heat_epoch = 0;  // of its records' heat
    void DecayHeat(uint32_t epoch);
    std::array<ChunkRecord, kPageRecords> records;
  };

  template <typename Self, typename Fn>
  static void Visit(Self& self, uint64_t begin, uint64_t end, Fn& fn) {
    for (auto it = self.pages_.lower_bound(begin / kPageRecords); it != self.pages_.end(); ++it) {
      const uint64_t base = it->first * kPageRecords;
      if (base >= end) return;
      for (uint64_t i = base < begin ? begin - base : 0; i < kPageRecords && base + i < end; ++i) {
        auto& record = it->second->records[i];
        if (record.exists()) fn(base + i, record);
      }
    }
  }

  absl::btree_map<uint64_t, std::unique_ptr<Page>> pages_;  // by sequence / kPageRecords
  size_t size_ = 0;
  uint64_t length_sum_ = 0;
};

// Told of what the log changes in the chunk tables of a machine, from inside Apply, so that a live
// view can be kept in step. It may change live views; it must not call back into the machine
// otherwise. Not called during import: OnShardReplaced stands for everything in it.
class ChunkObserver {
 public:
  virtual ~ChunkObserver() = default;
  virtual void OnChunkAdded(ChunkHandle handle, ChunkRecord& record) = 0;
  virtual void OnLocationsChanged(ChunkHandle handle, ChunkRecord& record) = 0;
  // Trims of this chunk were begun, revoked or finished, or ended with it.
  virtual void OnTrimsChanged(ChunkHandle handle) = 0;
  // `record` is about to go; its holders hold garbage from now on.
  virtual void OnChunkRemoved(ChunkHandle handle, const ChunkRecord& record) = 0;
  // The shard's whole state was replaced or dropped, or it came, was frozen or thawed: what its live
  // views say is of no use any more, nor is what was worked out over all shards served.
  virtual void OnShardReplaced(ShardId shard) = 0;
};

}  // namespace ballast::master
