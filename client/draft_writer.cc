// SPDX-License-Identifier: Apache-2.0
#include "client/draft_writer.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::client {
namespace {

// Chunks recorded by one SealChunks call: few calls, small log entries.
constexpr size_t kSealBatch = 64;

// A chunk's stream is ended by its stall timeout; this only bounds a server that trickles.
constexpr absl::Duration kChunkTimeout = absl::Minutes(10);

// Cleaning up must not keep anyone waiting: what is not aborted expires.
constexpr RetryLimits kAbortLimits = {
    .total = absl::Seconds(5), .first_wait = absl::Milliseconds(50), .wait_max = absl::Seconds(1)};

bool Contains(const std::vector<std::string>& ids, const std::string& id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

bool NamesAny(const v1::ChunkPlacement& placement, const std::vector<std::string>& ids) {
  return std::any_of(placement.servers().begin(), placement.servers().end(),
                     [&](const v1::ReplicaLocation& s) { return Contains(ids, s.server_id()); });
}

// Faults of ours, or of the whole set-up: another server would say the same.
bool IsHopeless(const absl::Status& status) {
  const v1::Reason reason = ReasonOf(status);
  return reason == v1::REASON_INVALID_ARGUMENT || reason == v1::REASON_WRONG_CLUSTER;
}

// Chunks of a stream are held in memory, so they are shorter: as long as its size, where that is
// known, needs.
uint64_t ChunkBytesFor(const Source& source, const ClientOptions& options) {
  if (source.rereadable()) {
    return options.chunk_bytes;
  }
  const uint64_t needed = CeilDiv(source.size_bytes().value_or(0), kChunksPerObjectMax);
  return std::max(options.stream_chunk_bytes, CeilDiv(needed, kBlockBytes) * kBlockBytes);
}

}  // namespace

DraftWriter::DraftWriter(MetadataClient& metadata, ChunkTransport& transport, ServerHealth& health,
                         const ClientOptions& options, const std::string& key, Source& source,
                         std::string head, const PutOptions& put)
    : metadata_(metadata),
      transport_(transport),
      health_(health),
      options_(options),
      key_(key),
      source_(source),
      put_(put),
      chunk_bytes_(ChunkBytesFor(source, options)),
      head_(std::move(head)) {}

absl::StatusOr<PutResult> DraftWriter::Run() {
  const Cancellation::Hook hook(put_.cancel, [this] { stop_.Cancel(); });
  RETURN_IF_ERROR(Begin());
  absl::Status status = RunWorkers();
  if (status.ok()) {
    status = source_.CheckUnchanged();
  }
  if (status.ok()) {
    auto result = SealAndCommit();
    if (result.ok()) {
      return result;
    }
    status = result.status();
  }
  Abort();
  if (put_.cancel != nullptr && put_.cancel->cancelled() &&
      ReasonOf(status) != v1::REASON_OUTCOME_UNKNOWN) {
    return absl::CancelledError("cancelled; nothing was stored");
  }
  return status;
}

absl::Status DraftWriter::Begin() {
  v1::BeginWriteRequest request;
  request.set_key(key_);
  request.set_wanted_replicas(put_.replicas);
  {
    absl::MutexLock lock(&mu_);
    request.set_chunk_count(static_cast<uint32_t>(
        std::min<uint64_t>(ChunksLeftAtMost(), static_cast<uint64_t>(options_.puts_in_flight))));
  }
  request.set_chunk_bytes(static_cast<uint32_t>(
      std::min(chunk_bytes_, std::max<uint64_t>(source_.size_bytes().value_or(chunk_bytes_), 1))));
  for (std::string& id : health_.AllFailedLately(RealClock().SteadyNow())) {
    request.add_avoid_server_ids(std::move(id));
  }
  ASSIGN_OR_RETURN(const auto response, metadata_.BeginWrite(std::move(request), Control()));
  draft_id_ = response.draft_id();
  required_replicas_ = std::max(response.required_replicas(), 1u);
  wanted_replicas_ = response.wanted_replicas();
  renew_every_ = absl::Milliseconds(std::max(response.expiry_ms(), 3u)) / 3;
  absl::MutexLock lock(&mu_);
  placements_.assign(response.chunks().begin(), response.chunks().end());
  draft_touched_ = RealClock().SteadyNow();
  return absl::OkStatus();
}

uint64_t DraftWriter::ChunksLeftAtMost() {
  const uint64_t all =
      source_.rereadable() ? CeilDiv(*source_.size_bytes(), chunk_bytes_) : kChunksPerObjectMax;
  return all - std::min(all, next_position_);
}

// --- workers ---------------------------------------------------------------------------------

absl::Status DraftWriter::RunWorkers() {
  uint64_t count = static_cast<uint64_t>(std::max(options_.puts_in_flight, 1));
  {
    absl::MutexLock lock(&mu_);
    count = std::min(count, ChunksLeftAtMost());
    workers_ = static_cast<int>(count);
  }
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < count; ++i) {
    threads.emplace_back([this] { WorkerMain(); });
  }
  RenewUntilWorkersEnd();
  for (std::thread& thread : threads) {
    thread.join();
  }
  absl::MutexLock lock(&mu_);
  return failure_;
}

void DraftWriter::WorkerMain() {
  std::unique_ptr<char[]> buffer;
  while (true) {
    auto job = NextJob(buffer);
    if (!job.ok()) {
      Fail(job.status());
      break;
    }
    if (*job == nullptr) {
      break;
    }
    const absl::Status stored = StoreChunk(**job);
    if (!stored.ok()) {
      Fail(stored);
      break;
    }
  }
  absl::MutexLock lock(&mu_);
  --workers_;
}

void DraftWriter::RenewUntilWorkersEnd() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return workers_ == 0; };
      const absl::Duration wait = draft_touched_ + renew_every_ - RealClock().SteadyNow();
      if (mu_.AwaitWithTimeout(absl::Condition(&ended), std::max(wait, absl::ZeroDuration()))) {
        return;
      }
      if (!failure_.ok()) {
        mu_.Await(absl::Condition(&ended));
        return;
      }
      if (RealClock().SteadyNow() - draft_touched_ < renew_every_) {
        continue;
      }
    }
    const auto renewed = Allocate(0, {});
    if (!renewed.ok()) {
      Fail(renewed.status());
    }
  }
}

void DraftWriter::Fail(const absl::Status& status) {
  {
    absl::MutexLock lock(&mu_);
    if (failure_.ok()) {
      failure_ = status;
    }
  }
  stop_.Cancel();
}

void DraftWriter::TouchDraft() {
  absl::MutexLock lock(&mu_);
  draft_touched_ = RealClock().SteadyNow();
}

absl::StatusOr<std::unique_ptr<DraftWriter::Job>> DraftWriter::NextJob(
    std::unique_ptr<char[]>& buffer) {
  if (stop_.cancelled()) {
    return absl::CancelledError("cancelled");
  }
  if (!source_.rereadable()) {
    return NextStreamJob(buffer);
  }
  absl::MutexLock lock(&mu_);
  const uint64_t offset = next_position_ * chunk_bytes_;
  const uint64_t size = *source_.size_bytes();
  if (offset >= size) {
    return nullptr;
  }
  auto job = std::make_unique<Job>();
  job->position = next_position_++;
  job->length_bytes = std::min(chunk_bytes_, size - offset);
  return job;
}

absl::StatusOr<std::unique_ptr<DraftWriter::Job>> DraftWriter::NextStreamJob(
    std::unique_ptr<char[]>& buffer) {
  absl::MutexLock source_lock(&source_mu_);
  if (stream_ended_) {
    return nullptr;
  }
  if (buffer == nullptr) {
    buffer.reset(new char[chunk_bytes_]);  // not zeroed: pages are touched as they fill
  }
  uint64_t filled = std::min<uint64_t>(head_.size(), chunk_bytes_);
  std::memcpy(buffer.get(), head_.data(), filled);
  head_.erase(0, filled);
  if (filled < chunk_bytes_) {
    const uint64_t wanted = chunk_bytes_ - filled;
    ASSIGN_OR_RETURN(const size_t n,
                     source_.ReadAt(stream_offset_ + filled, buffer.get() + filled, wanted, stop_));
    stream_ended_ = n < wanted;
    filled += n;
  }
  if (filled == 0) {
    return nullptr;
  }
  stream_offset_ += filled;
  absl::MutexLock lock(&mu_);
  if (next_position_ == kChunksPerObjectMax) {
    return InvalidArgument(absl::StrCat(
        "more than ", FormatBytes(chunk_bytes_ * kChunksPerObjectMax),
        " from a source of unknown size; store it as a file, or choose larger chunks"));
  }
  auto job = std::make_unique<Job>();
  job->position = next_position_++;
  job->length_bytes = filled;
  job->buffer = buffer.get();
  return job;
}

// --- one chunk -------------------------------------------------------------------------------

absl::Status DraftWriter::StoreChunk(const Job& job) {
  RetryLoop loop(metadata_.environment(), options_.chunk_write_retry, &stop_);
  std::vector<std::string> failed_here;
  std::set<std::string> full;
  while (true) {
    std::vector<std::string> avoid = failed_here;
    for (std::string& id : health_.AllFailedLately(RealClock().SteadyNow())) {
      if (!Contains(avoid, id)) {
        avoid.push_back(std::move(id));
      }
    }
    absl::Status failed;
    const auto placement = TakePlacement(avoid);
    if (placement.ok() && placement->servers().empty()) {
      return absl::InternalError("the master placed a chunk on no server");
    }
    if (placement.ok()) {
      const auto chain = ChainOf(*placement, avoid, failed_here);
      const auto roomy = std::count_if(
          chain.begin(), chain.end(),
          [&](const v1::ReplicaLocation& s) { return !full.contains(s.server_id()); });
      if (!full.empty() && static_cast<uint32_t>(roomy) < required_replicas_) {
        return MakeError(v1::REASON_NO_SPACE,
                         "the disks of the chunk servers are full; add servers or remove objects");
      }
      absl::Status source_status;
      const auto result = TryChunk(job, *placement, chain, &source_status);
      if (result.ok()) {
        return Record(job, *placement, chain, *result);
      }
      RETURN_IF_ERROR(source_status);
      if (IsHopeless(result.status())) {
        return result.status();
      }
      const auto detail = DetailOf(result.status());
      const std::string culprit = detail.has_value() && !detail->server_id().empty()
                                      ? detail->server_id()
                                      : chain.front().server_id();
      if (ReasonOf(result.status()) == v1::REASON_NO_SPACE) {
        full.insert(culprit);
      }
      if (!Contains(failed_here, culprit)) {
        failed_here.push_back(culprit);
      }
      health_.Failed(culprit, RealClock().SteadyNow());
      // Whatever it was there, elsewhere it may succeed.
      failed = MakeError(v1::REASON_CHAIN_FAILED, absl::StrCat("storing chunk ", job.position, ": ",
                                                               result.status().message()));
    } else if (ReasonOf(placement.status()) == v1::REASON_TOO_FEW_SERVERS) {
      // In the middle of an object: servers have just failed, and may be back or found alive soon.
      failed = MakeError(v1::REASON_CHAIN_FAILED, placement.status().message());
    } else {
      return placement.status();
    }
    if (!loop.AgainUnsent(failed)) {
      if (!placement.ok()) {
        return placement.status();
      }
      return loop.Explain(failed);
    }
  }
}

absl::StatusOr<ChunkWriteResult> DraftWriter::TryChunk(
    const Job& job, const v1::ChunkPlacement& placement,
    const std::vector<v1::ReplicaLocation>& chain, absl::Status* source_status) {
  uint64_t given = 0;
  const auto give = [&](char* out, size_t bytes) -> absl::StatusOr<size_t> {
    const size_t wanted = std::min<uint64_t>(bytes, job.length_bytes - given);
    if (stop_.cancelled()) {
      *source_status = absl::CancelledError("cancelled");
      return *source_status;
    }
    if (job.buffer != nullptr) {
      std::memcpy(out, job.buffer + given, wanted);
    } else {
      const auto n = source_.ReadAt(job.position * chunk_bytes_ + given, out, wanted, stop_);
      if (!n.ok()) {
        *source_status = n.status();
        return n.status();
      }
      if (*n < wanted) {
        *source_status = absl::FailedPreconditionError(absl::StrCat(
            "the source became shorter while it was being stored: ", *source_.size_bytes(),
            " bytes at first, now ", job.position * chunk_bytes_ + given + *n,
            "; nothing was stored"));
        return *source_status;
      }
    }
    given += wanted;
    if (put_.progress != nullptr) {
      put_.progress->bytes_done += wanted;
    }
    return wanted;
  };
  ChunkWriteRequest request;
  request.handle = ChunkHandle(placement.handle());
  request.chain = chain;
  request.length_hint_bytes = job.length_bytes;
  request.timeout = kChunkTimeout;
  auto result = transport_.WriteChunk(request, give);
  if (!result.ok() && put_.progress != nullptr) {
    put_.progress->bytes_done -= given;
  }
  if (result.ok() && result->length_bytes != job.length_bytes) {
    return absl::InternalError("a chunk was stored with another length");
  }
  return result;
}

absl::Status DraftWriter::Record(const Job& job, const v1::ChunkPlacement& placement,
                                 const std::vector<v1::ReplicaLocation>& chain,
                                 const ChunkWriteResult& result) {
  v1::SealedChunk sealed;
  sealed.set_handle(placement.handle());
  sealed.set_position(job.position);
  sealed.set_length_bytes(result.length_bytes);
  sealed.set_crc32c(result.crc32c.value);
  for (const v1::ReplicaLocation& server : chain) {
    sealed.add_server_indexes(server.server_index());
    health_.Works(server.server_id());
  }
  std::vector<v1::SealedChunk> batch;
  {
    absl::MutexLock lock(&mu_);
    if (done_.size() <= job.position) {
      done_.resize(job.position + 1);
    }
    done_[job.position] = {result.length_bytes, result.crc32c};
    const uint32_t replicas = static_cast<uint32_t>(chain.size());
    least_replicas_ = least_replicas_ == 0 ? replicas : std::min(least_replicas_, replicas);
    unsealed_.push_back(std::move(sealed));
    if (unsealed_.size() >= kSealBatch) {
      batch.swap(unsealed_);
    }
  }
  return batch.empty() ? absl::OkStatus() : Seal(std::move(batch));
}

// --- handles ---------------------------------------------------------------------------------

absl::StatusOr<v1::ChunkPlacement> DraftWriter::TakePlacement(
    const std::vector<std::string>& avoid) {
  uint32_t count = 1;
  {
    absl::MutexLock lock(&mu_);
    while (!placements_.empty()) {
      v1::ChunkPlacement placement = std::move(placements_.front());
      placements_.pop_front();
      if (!NamesAny(placement, avoid)) {
        return placement;
      }
      // Handles are cheap: one that was placed before a server failed is let go.
    }
    if (avoid.empty()) {
      count += static_cast<uint32_t>(std::min<uint64_t>(
          ChunksLeftAtMost(), static_cast<uint64_t>(options_.puts_in_flight - 1)));
    }
  }
  ASSIGN_OR_RETURN(auto fresh, Allocate(count, avoid));
  if (fresh.empty()) {
    return absl::InternalError("the master allocated no chunk");
  }
  v1::ChunkPlacement first = std::move(fresh.front());
  absl::MutexLock lock(&mu_);
  placements_.insert(placements_.end(), std::make_move_iterator(fresh.begin() + 1),
                     std::make_move_iterator(fresh.end()));
  return first;
}

absl::StatusOr<std::vector<v1::ChunkPlacement>> DraftWriter::Allocate(
    uint32_t count, const std::vector<std::string>& avoid) {
  v1::AllocateChunksRequest request;
  request.set_draft_id(draft_id_);
  request.set_chunk_count(count);
  request.set_chunk_bytes(static_cast<uint32_t>(chunk_bytes_));
  for (const std::string& id : avoid) {
    request.add_avoid_server_ids(id);
  }
  ASSIGN_OR_RETURN(const auto response, metadata_.AllocateChunks(std::move(request), Control()));
  TouchDraft();
  return std::vector<v1::ChunkPlacement>(response.chunks().begin(), response.chunks().end());
}

std::vector<v1::ReplicaLocation> DraftWriter::ChainOf(
    const v1::ChunkPlacement& placement, const std::vector<std::string>& avoid,
    const std::vector<std::string>& failed_here) const {
  for (const auto* without : {&avoid, &failed_here}) {
    std::vector<v1::ReplicaLocation> chain;
    std::copy_if(placement.servers().begin(), placement.servers().end(), std::back_inserter(chain),
                 [&](const v1::ReplicaLocation& s) { return !Contains(*without, s.server_id()); });
    if (chain.size() >= required_replicas_) {
      return chain;
    }
  }
  return {placement.servers().begin(), placement.servers().end()};
}

// --- the end ---------------------------------------------------------------------------------

absl::Status DraftWriter::Seal(std::vector<v1::SealedChunk> chunks) {
  v1::SealChunksRequest request;
  request.set_draft_id(draft_id_);
  for (v1::SealedChunk& chunk : chunks) {
    *request.add_chunks() = std::move(chunk);
  }
  RETURN_IF_ERROR(metadata_.SealChunks(std::move(request), Control()).status());
  TouchDraft();
  return absl::OkStatus();
}

absl::StatusOr<PutResult> DraftWriter::SealAndCommit() {
  PutResult result;
  result.wanted_replicas = wanted_replicas_;
  std::vector<v1::SealedChunk> rest;
  {
    absl::MutexLock lock(&mu_);
    rest.swap(unsealed_);
    for (const Done& done : done_) {
      CHECK_GT(done.length_bytes, 0u) << " a chunk is missing";
      result.crc32c = ConcatCrc32c(result.crc32c, done.crc32c, done.length_bytes);
      result.size_bytes += done.length_bytes;
    }
    result.chunk_count = done_.size();
    result.least_replicas = least_replicas_;
  }
  if (!rest.empty()) {
    RETURN_IF_ERROR(Seal(std::move(rest)));
  }
  v1::CommitObjectRequest request;
  request.set_key(key_);
  request.set_draft_id(draft_id_);
  request.set_size_bytes(result.size_bytes);
  request.set_crc32c(result.crc32c.value);
  request.set_chunk_count(result.chunk_count);
  if (put_.if_generation_match.has_value()) {
    request.mutable_precondition()->set_if_generation_match(*put_.if_generation_match);
  }
  for (const auto& [name, text] : put_.metadata) {
    v1::UserMetadata* const entry = request.add_metadata();
    entry->set_name(name);
    entry->set_value(text);
  }
  ASSIGN_OR_RETURN(const auto response, metadata_.Commit(std::move(request), Control()));
  result.generation = response.generation();
  return result;
}

void DraftWriter::Abort() {
  v1::AbortWriteRequest request;
  request.set_draft_id(draft_id_);
  // Best effort: an error was met already, and the draft expires by itself.
  metadata_.AbortWrite(std::move(request), CallControl{nullptr, kAbortLimits})
      .status()
      .IgnoreError();
}

}  // namespace ballast::client
