// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <bitset>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "common/env/file_system.h"
#include "common/types/ids.h"
#include "services/chunkserver/core/chunk_format.h"
#include "services/chunkserver/core/chunk_index.h"
#include "services/chunkserver/core/report_builder.h"

namespace ballast::chunkserver {

class ChunkWriter;

// Names inside a chunk server's folder.
class StoreLayout {
 public:
  explicit StoreLayout(absl::string_view folder) : folder_(folder) {}
  std::string ChunksFolder() const { return JoinPath(folder_, "chunks"); }
  // One of 256, by the handle's last two digits; made when first needed.
  std::string ChunkFolder(ChunkHandle handle) const;
  std::string ChunkFile(ChunkHandle handle) const;
  std::string StagingFolder() const { return JoinPath(folder_, "staging"); }
  std::string QuarantineFolder() const { return JoinPath(folder_, "quarantine"); }

 private:
  std::string folder_;
};

struct ChunkStoreOptions {
  std::string folder;  // formatted (store/server_identity.h)
  std::string cluster_id;
  uint64_t capacity_bytes = 0;  // what chunks may take in all; 0: the whole file system
  // The disk's own size does not bound capacity_bytes (> 0): for stores of sparse chunks.
  bool capacity_is_nominal = false;
  uint64_t free_bytes_min = MiB(32);  // left free on the file system
  size_t open_files_max = 256;        // chunk files kept open for reading
  // Called after every change that reports tell of, with the store locked: it may only post.
  std::function<void()> on_news;
};

// An open chunk file and its header. Stays readable after the chunk's deletion.
struct OpenChunk {
  ChunkHeader header;
  std::unique_ptr<File> file;
  uint64_t deletes = 0;  // of the store, when it was opened
};

// Bytes whose block checksums have been verified: the only thing a writer takes. The pieces it was
// made from must outlive it.
class VerifiedBlocks {
 public:
  // `pieces` together are whole blocks (the last may be short), one checksum each.
  //   INVALID_ARGUMENT                 the number of checksums does not fit
  //   DATA_LOSS / CHECKSUM_MISMATCH    bytes and checksums differ
  static absl::StatusOr<VerifiedBlocks> Verify(std::vector<absl::string_view> pieces,
                                               std::vector<Crc32c> blocks);

  const std::vector<absl::string_view>& pieces() const { return pieces_; }
  const std::vector<Crc32c>& blocks() const { return blocks_; }
  uint64_t bytes() const { return bytes_; }

 private:
  VerifiedBlocks() = default;
  std::vector<absl::string_view> pieces_;
  std::vector<Crc32c> blocks_;
  uint64_t bytes_ = 0;
};

struct StoreUsage {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t incoming_bytes = 0;  // reserved by writers
  uint64_t chunk_count = 0;
  uint64_t corrupt_count = 0;
};

// The chunks of one server on its disk.
//
// Guarantees: a chunk becomes visible at its commit, whole and durable (file and folder fsynced),
// and is immutable from then on; a crash before leaves nothing that the next start does not remove.
// No byte is handed out whose block checksum was not verified in that read; a chunk with a bad
// block is marked corrupt, reported, never read again and kept. Whatever is wrong with one file,
// the other chunks are served. Concurrency: thread-safe. Methods block on the disk except where
// they say not; no lock is held over I/O, so that a slow disk operation delays nothing else.
// Lifetime: `fs` and then the store outlive all writers.
// Failure, all that read or write: UNAVAILABLE / NOT_READY before Serve(); DATA_LOSS and INTERNAL
// when the disk fails, after which healthy() is false.
class ChunkStore {
 public:
  ChunkStore(FileSystem& fs, ChunkStoreOptions options);
  ~ChunkStore();
  ChunkStore(const ChunkStore&) = delete;
  ChunkStore& operator=(const ChunkStore&) = delete;

  // --- start (store/recovery.h) ---
  // Makes a chunk found on disk known. Only before Serve. False if it is known already.
  bool Adopt(ChunkHandle handle, const ReplicaFacts& facts);
  // Begins to serve. Before it the index is incomplete.
  void Serve();
  bool serving() const { return serving_.load(std::memory_order_acquire); }

  // --- writing ---
  // Begins a chunk and reserves space for `length_hint_bytes` (0: space is reserved as it grows).
  //   ALREADY_EXISTS / CHUNK_EXISTS      the handle is, or is being, stored here
  //   RESOURCE_EXHAUSTED / NO_SPACE      nothing is kept
  absl::StatusOr<std::unique_ptr<ChunkWriter>> StartWrite(ChunkHandle handle,
                                                          uint64_t length_hint_bytes);

  // Makes a whole chunk of zeros that takes next to no space on the disk, though it is counted by
  // its length. Durable on return; verified, since there is nothing to read. Codes as StartWrite,
  // and
  //   INVALID_ARGUMENT                   length_bytes is not 1..kChunkBytesMax
  absl::Status CreateZeroChunk(ChunkHandle handle, uint64_t length_bytes);

  // --- reading ---
  // The chunk's open file, with a whole and fitting header.
  //   NOT_FOUND / CHUNK_NOT_FOUND; DATA_LOSS / CHECKSUM_MISMATCH
  absl::StatusOr<std::shared_ptr<const OpenChunk>> Open(ChunkHandle handle);

  // Reads `count` blocks from `first` on into `out` (kBlockBytes each, the chunk's last may be
  // short) and verifies them. Returns the number of bytes. Requires first + count <= number of
  // blocks.
  //   DATA_LOSS / CHECKSUM_MISMATCH      `out` is to be thrown away; the chunk is now corrupt
  absl::StatusOr<size_t> ReadBlocks(const OpenChunk& chunk, uint64_t first, uint64_t count,
                                    char* out);

  // Does not block. NOT_FOUND / CHUNK_NOT_FOUND. A corrupt chunk is no error here.
  absl::StatusOr<ReplicaFacts> Stat(ChunkHandle handle);

  // Reads and checks all of the chunk; its state becomes verified or corrupt. Piece by piece:
  // store/chunk_verification.h.
  //   NOT_FOUND / CHUNK_NOT_FOUND; DATA_LOSS / CHECKSUM_MISMATCH
  absl::StatusOr<ReplicaFacts> Verify(ChunkHandle handle);

  // --- deleting ---
  // Durable on return. `length_bytes` must be the chunk's, or 0 for any.
  //   NOT_FOUND / CHUNK_NOT_FOUND        not here, or being deleted
  //   FAILED_PRECONDITION                of another length; it is kept
  absl::Status Delete(ChunkHandle handle, uint32_t length_bytes);

  // --- facts ---
  StoreUsage Usage();
  // The chunks with handles above `after`, ascending, at most `chunks_max`. Does not block.
  std::vector<std::pair<ChunkHandle, ReplicaFacts>> List(ChunkHandle after, size_t chunks_max);
  // False once the disk has failed a write, a sync or a read.
  bool healthy() const { return healthy_.load(std::memory_order_relaxed); }
  const StoreLayout& layout() const { return layout_; }
  const std::string& cluster_id() const { return options_.cluster_id; }
  FileSystem& file_system() { return fs_; }

  // --- verifications, for whoever plans them; these do not block ---
  // The time that seals and verifications from now on are stamped with: seconds of a clock of the
  // caller's, 0 until set.
  void SetVerificationClock(uint32_t now_s) {
    verification_clock_s_.store(now_s, std::memory_order_relaxed);
  }
  struct Verification {
    ChunkHandle handle;
    ReplicaFacts facts;
    uint32_t verified_s = 0;  // 0 if not since this start
  };
  // As List.
  std::vector<Verification> ListVerifications(ChunkHandle after, size_t chunks_max);

  // --- reports, one reporter a master (core/report_builder.h); these do not block ---
  using ReporterId = uint64_t;
  ReporterId AddReporter();
  void RemoveReporter(ReporterId id);
  void StartReports(ReporterId id, absl::Span<const ShardId> shards);
  void StopReports(ReporterId id, absl::Span<const ShardId> shards);
  void AnswerReports(ReporterId id, const v1::HeartbeatReply& reply);
  bool HasNews(ReporterId id);
  void BuildReports(ReporterId id, size_t replicas_max, size_t reports_max, bool with_heat,
                    google::protobuf::RepeatedPtrField<v1::ShardReport>* out);
  std::optional<ToldLists> AllTold(ReporterId id);
  // Counts one read of the chunk, for heat.
  void CountRead(ChunkHandle handle);

 private:
  friend class ChunkVerification;
  friend class ChunkWriter;

  // What the writer needs: see ChunkWriter.
  enum class Backing { kDisk, kNone };  // whether the disk must have the bytes free, too
  absl::Status Reserve(uint64_t more_bytes, Backing backing);
  absl::Status EnsureFolder(ChunkHandle handle) ABSL_LOCKS_EXCLUDED(mu_);
  void ReleaseWrite(ChunkHandle handle, uint64_t reserved_bytes);
  void Publish(ChunkHandle handle, const ReplicaFacts& facts, uint64_t reserved_bytes);
  absl::Status DiskError(const absl::Status& status);

  absl::StatusOr<std::shared_ptr<const OpenChunk>> OpenFile(ChunkHandle handle,
                                                            const ReplicaFacts& facts);
  absl::StatusOr<ReplicaFacts> FindForUse(ChunkHandle handle) ABSL_LOCKS_EXCLUDED(mu_);
  // Reads `bytes` from block `first` on, and verifies them; marks nothing.
  absl::Status ReadAndVerify(const OpenChunk& chunk, uint64_t first, uint64_t bytes, char* out);
  // The same from the replica that has come since the one that `chunk` opened was deleted. Failure:
  // it is bad as well, or is not the same, or there is none.
  absl::Status ReadFromSuccessor(const OpenChunk& chunk, uint64_t first, uint64_t bytes, char* out)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Notes the end of a verification that began when corrupt_marks_ was `marks`. False, and nothing
  // changes, if the chunk is corrupt and was perhaps found so since: a read may have met damage in
  // what the verification had read before.
  bool SetVerified(ChunkHandle handle, uint64_t marks) ABSL_LOCKS_EXCLUDED(mu_);
  void MarkCorrupt(ChunkHandle handle, const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_);
  // Out of the files that are kept open; null if it is not among them. To be closed outside mu_.
  std::shared_ptr<const OpenChunk> TakeOpenLocked(ChunkHandle handle)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Notify(ChunkHandle handle, const std::optional<ReplicaFacts>& before)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t CapacityBytes(const SpaceInfo& space) const;

  FileSystem& fs_;
  const ChunkStoreOptions options_;
  const StoreLayout layout_;
  std::atomic<bool> serving_{false};
  std::atomic<bool> healthy_{true};
  std::atomic<uint64_t> next_staging_{1};
  std::atomic<uint64_t> deletes_{0};  // how many files of chunks were removed
  std::atomic<uint32_t> verification_clock_s_{0};

  absl::Mutex mu_;  // a leaf: nothing is called with it held but the pure parts below
  ChunkIndex index_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<ChunkHandle> writing_ ABSL_GUARDED_BY(mu_);   // not in index_
  absl::flat_hash_set<ChunkHandle> deleting_ ABSL_GUARDED_BY(mu_);  // still in index_
  uint64_t reserved_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::bitset<256> durable_folders_ ABSL_GUARDED_BY(mu_);  // by the handle's last two digits
  ReporterId next_reporter_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<ReporterId, ReportBuilder> reporters_ ABSL_GUARDED_BY(mu_);
  uint64_t corrupt_marks_ ABSL_GUARDED_BY(mu_) = 0;  // how often a chunk was found corrupt
  // Open files, most recently used first.
  using OpenList = std::list<std::shared_ptr<const OpenChunk>>;
  OpenList open_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<ChunkHandle, OpenList::iterator> open_by_handle_ ABSL_GUARDED_BY(mu_);
};

// A chunk being written, under a temporary name. Used by one thread at a time; every method blocks.
// Blocks of zeros are not written, and long runs of them take no space once prepared.
// After an error only destruction makes sense. Destroyed without Commit it removes what it wrote
// (also blocking).
class ChunkWriter {
 public:
  ~ChunkWriter();
  ChunkWriter(const ChunkWriter&) = delete;
  ChunkWriter& operator=(const ChunkWriter&) = delete;

  // Appends at the end; all but the chunk's last call must be whole blocks.
  //   INVALID_ARGUMENT      beyond kChunkBytesMax, or after a short block
  //   RESOURCE_EXHAUSTED / NO_SPACE
  absl::Status Append(const VerifiedBlocks& blocks);

  // Completes the file and makes its content durable; still invisible.
  //   INVALID_ARGUMENT                  length differs from what was appended, or is 0
  //   DATA_LOSS / CHECKSUM_MISMATCH     the whole checksum does not fit
  absl::Status Prepare(uint64_t length_bytes, Crc32c crc32c);

  // Makes the chunk visible and its name durable; once, after Prepare. On failure the chunk is not
  // visible, though a restart may find it.
  absl::Status Commit();

  uint64_t length_bytes() const { return length_; }

 private:
  friend class ChunkStore;
  ChunkWriter(ChunkStore& store, ChunkHandle handle, std::string path, std::unique_ptr<File> file,
              uint64_t reserved_bytes);
  absl::Status MakeRoom(uint64_t data_bytes);
  absl::Status WriteBlocks(const VerifiedBlocks& blocks);
  absl::Status AppendZeros(uint64_t bytes);
  void NoteZeros(uint64_t offset, uint64_t bytes);

  // Data that reads as zero because it was never written.
  struct ZeroRun {
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };

  ChunkStore& store_;
  const ChunkHandle handle_;
  const std::string path_;
  std::unique_ptr<File> file_;
  uint64_t reserved_bytes_;  // on disk and counted by the store
  uint64_t length_ = 0;      // of data appended
  uint64_t writeback_started_ = 0;
  std::vector<Crc32c> blocks_;
  std::vector<ZeroRun> zero_runs_;  // ascending, not touching
  Crc32c crc32c_;
  bool prepared_ = false;
  bool committed_ = false;
};

}  // namespace ballast::chunkserver
