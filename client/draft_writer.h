// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/chunk_transport.h"
#include "client/metadata_client.h"
#include "client/object_writer.h"
#include "client/options.h"
#include "client/source.h"

namespace ballast::client {

// One large Put: the threads that fill the chunks of one draft, and the draft's life around them.
//
//   begin -> [workers: take a chunk of the source, write it along a chain, record it] -> seal the
//   rest -> check the source -> commit; on any error -> abort.
//
// Concurrency: one Run, on one thread; its workers are its own and joined before it returns.
// Lock order: source_mu_, then mu_. No call is made under mu_.
class DraftWriter {
 public:
  // `head` are bytes that were read off the front of a source that cannot be reread.
  DraftWriter(MetadataClient& metadata, ChunkTransport& transport, ServerHealth& health,
              const ClientOptions& options, const std::string& key, Source& source,
              std::string head, const PutOptions& put);

  absl::StatusOr<PutResult> Run();

 private:
  // One chunk of the object and where its bytes are.
  struct Job {
    uint64_t position = 0;
    uint64_t length_bytes = 0;
    const char* buffer = nullptr;  // null: reread from the source
  };
  struct Done {
    uint32_t length_bytes = 0;  // 0: not yet
    Crc32c crc32c;
  };

  absl::Status Begin();
  absl::Status RunWorkers();
  void RenewUntilWorkersEnd();
  absl::StatusOr<PutResult> SealAndCommit();
  void Abort();

  void WorkerMain();
  // The next chunk, or nothing at the end or after a failure. `buffer` is this worker's.
  absl::StatusOr<std::unique_ptr<Job>> NextJob(std::unique_ptr<char[]>& buffer);
  absl::StatusOr<std::unique_ptr<Job>> NextStreamJob(std::unique_ptr<char[]>& buffer);

  // Writes one chunk, on other servers again and again if need be, and records it.
  absl::Status StoreChunk(const Job& job);
  absl::StatusOr<ChunkWriteResult> TryChunk(const Job& job, const v1::ChunkPlacement& placement,
                                            const std::vector<v1::ReplicaLocation>& chain,
                                            absl::Status* source_status);
  absl::Status Record(const Job& job, const v1::ChunkPlacement& placement,
                      const std::vector<v1::ReplicaLocation>& chain,
                      const ChunkWriteResult& result);

  // A handle nobody used, on servers other than `avoid` as far as there are others.
  absl::StatusOr<v1::ChunkPlacement> TakePlacement(const std::vector<std::string>& avoid);
  absl::StatusOr<std::vector<v1::ChunkPlacement>> Allocate(uint32_t count,
                                                           const std::vector<std::string>& avoid);
  // The chain of a placement: without servers to avoid, if enough others are left; else without
  // those that failed this very chunk; else all of it.
  std::vector<v1::ReplicaLocation> ChainOf(const v1::ChunkPlacement& placement,
                                           const std::vector<std::string>& avoid,
                                           const std::vector<std::string>& failed_here) const;
  absl::Status Seal(std::vector<v1::SealedChunk> chunks);

  void Fail(const absl::Status& status);
  void TouchDraft();
  CallControl Control() { return {&stop_, {}}; }
  uint64_t ChunksLeftAtMost() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  MetadataClient& metadata_;
  ChunkTransport& transport_;
  ServerHealth& health_;
  const ClientOptions& options_;
  const std::string key_;
  Source& source_;
  const PutOptions& put_;
  const uint64_t chunk_bytes_;

  Cancellation stop_;  // the caller's cancellation, or the first failure
  uint64_t draft_id_ = 0;
  uint32_t required_replicas_ = 1;
  uint32_t wanted_replicas_ = 0;
  absl::Duration renew_every_;

  absl::Mutex source_mu_;  // held while a stream is read; before mu_
  std::string head_ ABSL_GUARDED_BY(source_mu_);
  uint64_t stream_offset_ ABSL_GUARDED_BY(source_mu_) = 0;
  bool stream_ended_ ABSL_GUARDED_BY(source_mu_) = false;

  absl::Mutex mu_;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  int workers_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_position_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<v1::ChunkPlacement> placements_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::SealedChunk> unsealed_ ABSL_GUARDED_BY(mu_);
  std::vector<Done> done_ ABSL_GUARDED_BY(mu_);  // by position
  uint32_t least_replicas_ ABSL_GUARDED_BY(mu_) = 0;
  SteadyTime draft_touched_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::client
