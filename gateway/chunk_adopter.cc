// SPDX-License-Identifier: Apache-2.0
#include "gateway/chunk_adopter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"
#include "common/types/key.h"
#include "common/types/limits.h"

namespace ballast::gateway {
namespace {

using Operation = v1::BatchRequest::Operation;
using Outcome = v1::BatchResponse::Outcome;

// The name itself, or, where a key must not be like that, a hash of it. Two names with one hash
// would share a chunk.
std::string KeyOf(const std::string& name) {
  std::string key = absl::StrCat(kAdoptedKeyPrefix, "=", name);
  return ValidateKey(key).ok()
             ? key
             : absl::StrCat(kAdoptedKeyPrefix, "#", absl::Hex(StableHash(name), absl::kZeroPad16),
                            absl::Hex(StableHash(absl::StrCat("2", name)), absl::kZeroPad16));
}

ReplicaFacts FactsOfZeros(uint64_t bytes) {
  const std::string block(std::min<uint64_t>(bytes, kBlockBytes), '\0');
  const Crc32c of_block = ComputeCrc32c(block);
  Crc32c crc;
  uint64_t done = 0;
  for (; bytes - done >= kBlockBytes; done += kBlockBytes) {
    crc = ConcatCrc32c(crc, of_block, kBlockBytes);
  }
  crc = ExtendCrc32c(crc, absl::string_view(block).substr(0, bytes - done));
  return {.length_bytes = static_cast<uint32_t>(bytes), .crc32c = crc.value};
}

// What is known of one wish as it goes from batch to batch.
struct Adoption {
  const ChunkAdopter::Wish* wish = nullptr;
  uint64_t draft = 0;
  uint64_t handle = 0;
  absl::Status status;
};

Operation Begin(const Adoption& adoption, const ReplicaFacts& facts) {
  Operation operation;
  v1::BeginWriteRequest& begin = *operation.mutable_begin_write();
  begin.set_key(KeyOf(adoption.wish->name));
  begin.set_wanted_replicas(1);
  begin.set_chunk_count(1);
  begin.set_chunk_bytes(facts.length_bytes);
  begin.set_no_placement(true);
  return operation;
}

Operation Seal(const Adoption& adoption, const ReplicaFacts& facts) {
  Operation operation;
  v1::SealChunksRequest& seal = *operation.mutable_seal_chunks();
  seal.set_draft_id(adoption.draft);
  v1::SealedChunk& chunk = *seal.add_chunks();
  chunk.set_handle(adoption.handle);
  chunk.set_length_bytes(facts.length_bytes);
  chunk.set_crc32c(facts.crc32c);
  chunk.add_server_indexes(adoption.wish->holder.value());
  return operation;
}

Operation Commit(const Adoption& adoption, const ReplicaFacts& facts) {
  Operation operation;
  v1::CommitObjectRequest& commit = *operation.mutable_commit_object();
  commit.set_key(KeyOf(adoption.wish->name));
  commit.set_draft_id(adoption.draft);
  commit.set_size_bytes(facts.length_bytes);
  commit.set_crc32c(facts.crc32c);
  commit.set_chunk_count(1);
  commit.mutable_precondition()->set_if_generation_match(0);
  return operation;
}

absl::Status TakeBegun(const Outcome& outcome, Adoption& adoption) {
  const v1::BeginWriteResponse& begun = outcome.begin_write();
  if (begun.chunks_size() != 1) {
    return absl::InternalError("the master gave no handle for a chunk");
  }
  adoption.draft = begun.draft_id();
  adoption.handle = begun.chunks(0).handle();
  return absl::OkStatus();
}

}  // namespace

ChunkAdopter::ChunkAdopter(client::MetadataClient& metadata, uint64_t chunk_bytes)
    : metadata_(metadata), facts_(FactsOfZeros(chunk_bytes)) {
  CHECK(chunk_bytes >= 1 && chunk_bytes <= kChunkBytesMax);
}

std::vector<absl::StatusOr<ChunkHandle>> ChunkAdopter::Adopt(absl::Span<const Wish> wishes) {
  std::vector<Adoption> adoptions(wishes.size());
  for (size_t i = 0; i < wishes.size(); ++i) {
    adoptions[i].wish = &wishes[i];
  }
  // One step of all that have come so far, in one batch.
  const auto step = [&](auto make, auto take) {
    std::vector<Operation> operations;
    std::vector<Adoption*> asked;
    for (Adoption& adoption : adoptions) {
      if (adoption.status.ok()) {
        operations.push_back(make(adoption, facts_));
        asked.push_back(&adoption);
      }
    }
    auto outcomes = metadata_.Batch(std::move(operations), client::CallControl());
    for (size_t i = 0; i < asked.size(); ++i) {
      asked[i]->status = outcomes[i].ok() ? take(*outcomes[i], *asked[i]) : outcomes[i].status();
    }
  };
  const auto nothing = [](const Outcome&, Adoption&) { return absl::OkStatus(); };
  step(Begin, TakeBegun);
  step(Seal, nothing);
  step(Commit, nothing);

  std::vector<absl::StatusOr<ChunkHandle>> results;
  for (const Adoption& adoption : adoptions) {
    if (adoption.status.ok()) {
      results.emplace_back(ChunkHandle(adoption.handle));
    } else if (ReasonOf(adoption.status) == v1::REASON_GENERATION_MISMATCH) {
      // An earlier try was given up, and its commit came through after all.
      const absl::StatusOr<ChunkHandle> adopted = FindAdopted(adoption.wish->name);
      results.push_back(adopted.ok() ? adopted : adoption.status);
    } else {
      results.emplace_back(adoption.status);
    }
  }
  return results;
}

absl::StatusOr<ChunkHandle> ChunkAdopter::FindAdopted(const std::string& name) {
  ASSIGN_OR_RETURN(const v1::GetObjectResponse found,
                   metadata_.GetObject(KeyOf(name), client::CallControl()));
  if (found.chunks_size() != 1 || found.chunks(0).length_bytes() != facts_.length_bytes ||
      found.chunks(0).crc32c() != facts_.crc32c) {
    return absl::FailedPreconditionError("an object of this name is something else");
  }
  return ChunkHandle(found.chunks(0).handle());
}

std::vector<absl::Status> ChunkAdopter::SetWanted(absl::Span<const AdoptedChunks::Growth> growth) {
  std::vector<Operation> operations;
  for (const AdoptedChunks::Growth& one : growth) {
    v1::SetReplicationRequest& request = *operations.emplace_back().mutable_set_replication();
    request.set_key(KeyOf(one.name));
    request.set_wanted_replicas(one.wanted);
  }
  std::vector<absl::Status> statuses;
  for (const auto& outcome : metadata_.Batch(std::move(operations), client::CallControl())) {
    statuses.push_back(outcome.status());
  }
  return statuses;
}

}  // namespace ballast::gateway
