// SPDX-License-Identifier: Apache-2.0
#include "client/chunk_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/retry_loop.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast::client {
namespace {

// Rounds over all replicas after which "all of them are wrong" is believed: a repair may be under
// way, but a chunk whose every copy is corrupt will not heal by waiting.
constexpr int kCorruptRoundsMax = 3;

constexpr absl::Duration kReadTimeout = absl::Minutes(10);

v1::ReportBadReplicaRequest::Problem ProblemOf(const absl::Status& status) {
  if (ReasonOf(status) == v1::REASON_CHUNK_NOT_FOUND) {
    return v1::ReportBadReplicaRequest::PROBLEM_MISSING;
  }
  if (status.code() == absl::StatusCode::kDataLoss ||
      status.code() == absl::StatusCode::kOutOfRange) {
    return v1::ReportBadReplicaRequest::PROBLEM_CHECKSUM;
  }
  return v1::ReportBadReplicaRequest::PROBLEM_UNREACHABLE;
}

}  // namespace

struct ChunkReader::Attempt {
  uint64_t delivered = 0;  // bytes of the piece, from its begin
  Crc32c crc32c;           // of these
  bool complete = false;
  absl::Status fatal;             // not the replica's fault: ends the piece
  absl::Status last;              // why the last replica failed
  bool all_wrong = true;          // in this round every failure was wrong bytes
  std::set<std::string> sources;  // servers that delivered some of it
  std::set<std::string> reported;
};

absl::StatusOr<Crc32c> ChunkReader::Read(Piece piece, Deliver deliver) {
  RetryLoop loop(metadata_.environment(), options_.chunk_read_retry, &stop_);
  Rng rng(metadata_.environment().next_seed.fetch_add(1));
  Attempt attempt;
  int corrupt_rounds = 0;
  while (true) {
    attempt.last = MakeError(v1::REASON_CHUNK_UNAVAILABLE,
                             absl::StrCat("chunk ", ChunkHandle(piece.chunk.handle()).ToString(),
                                          " has no live replica now"));
    attempt.all_wrong = !piece.chunk.replicas().empty();
    for (const v1::ReplicaLocation& replica : InOrder(piece.chunk, rng)) {
      TryReplica(piece, replica, deliver, attempt);
      RETURN_IF_ERROR(attempt.fatal);
      if (attempt.complete) {
        return attempt.crc32c;
      }
    }
    if (attempt.all_wrong && ++corrupt_rounds == kCorruptRoundsMax) {
      return MakeError(
          v1::REASON_CHECKSUM_MISMATCH,
          absl::StrCat("every replica of chunk ", ChunkHandle(piece.chunk.handle()).ToString(),
                       " is damaged: ", attempt.last.message()));
    }
    const absl::Status failed = MakeError(v1::REASON_CHUNK_UNAVAILABLE, attempt.last.message());
    if (!loop.AgainUnsent(failed)) {
      return stop_.cancelled() ? absl::CancelledError("cancelled") : loop.Explain(failed);
    }
    ASSIGN_OR_RETURN(piece.chunk, pages_.Refetch(piece.chunk));
  }
}

std::vector<v1::ReplicaLocation> ChunkReader::InOrder(const v1::ChunkInfo& chunk, Rng& rng) const {
  std::vector<v1::ReplicaLocation> replicas(chunk.replicas().begin(), chunk.replicas().end());
  if (choice_ == ReplicaChoice::kRandom && !replicas.empty()) {
    const auto first = replicas.begin() + static_cast<std::ptrdiff_t>(rng.Below(replicas.size()));
    std::rotate(replicas.begin(), first, first + 1);
  }
  const SteadyTime now = RealClock().SteadyNow();
  std::stable_partition(replicas.begin(), replicas.end(), [&](const v1::ReplicaLocation& r) {
    return !health_.FailedLately(r.server_id(), now);
  });
  return replicas;
}

void ChunkReader::TryReplica(const Piece& piece, const v1::ReplicaLocation& replica,
                             Deliver deliver, Attempt& attempt) {
  const uint64_t wanted = piece.length() - attempt.delivered;
  uint64_t offset = attempt.delivered;
  absl::Status sink_status;
  const auto sink = [&](absl::string_view bytes) -> absl::Status {
    if (stop_.cancelled()) {
      sink_status = absl::CancelledError("cancelled");
    } else if (bytes.size() > piece.length() - offset) {
      return MakeError(v1::REASON_CHECKSUM_MISMATCH, "more bytes than asked for");
    } else {
      sink_status = deliver(offset, bytes);
      offset += bytes.size();
    }
    return sink_status;
  };
  ChunkReadRequest request;
  request.handle = ChunkHandle(piece.chunk.handle());
  request.replica = replica;
  request.offset_bytes = piece.begin + attempt.delivered;
  request.length_bytes = wanted;
  request.timeout = kReadTimeout;
  const ChunkReadResult result = transport_.ReadChunk(request, sink);

  if (!sink_status.ok()) {
    attempt.fatal = sink_status;
    return;
  }
  attempt.crc32c = ConcatCrc32c(attempt.crc32c, result.crc32c, result.delivered_bytes);
  attempt.delivered += result.delivered_bytes;
  if (result.delivered_bytes > 0) {
    attempt.sources.insert(replica.server_id());
  }
  absl::Status status = result.status;
  if (status.ok() && attempt.delivered < piece.length()) {
    status = MakeError(v1::REASON_CHECKSUM_MISMATCH,
                       absl::StrCat("the replica at ", replica.address(), " is too short"));
  }
  if (status.ok() && piece.IsWholeChunk() && attempt.crc32c.value != piece.chunk.crc32c()) {
    // The blocks were right by the servers' own checksums and yet this is not the chunk that was
    // written: whoever delivered some of it is suspect, and all of it is fetched anew.
    status = MakeError(
        v1::REASON_CHECKSUM_MISMATCH,
        absl::StrCat("the bytes from ", replica.address(), " do not have the chunk's checksum"));
    for (const std::string& id : attempt.sources) {
      Report(piece, id, status, attempt);
    }
    attempt.sources.clear();
    attempt.delivered = 0;
    attempt.crc32c = Crc32c();
  }
  if (status.ok()) {
    health_.Works(replica.server_id());
    attempt.complete = true;
    return;
  }
  attempt.last =
      Annotate(status, absl::StrCat("reading chunk ", ChunkHandle(piece.chunk.handle()).ToString(),
                                    " from ", replica.address(), ": "));
  attempt.all_wrong &= ProblemOf(status) == v1::ReportBadReplicaRequest::PROBLEM_CHECKSUM;
  Report(piece, replica.server_id(), status, attempt);
}

void ChunkReader::Report(const Piece& piece, const std::string& server_id, const absl::Status& why,
                         Attempt& attempt) {
  const auto problem = ProblemOf(why);
  if (problem == v1::ReportBadReplicaRequest::PROBLEM_UNREACHABLE) {
    health_.Failed(server_id, RealClock().SteadyNow());
  }
  if (!attempt.reported.insert(server_id).second) {
    return;
  }
  v1::ReportBadReplicaRequest report;
  report.set_handle(piece.chunk.handle());
  report.set_server_id(server_id);
  report.set_problem(problem);
  metadata_.ReportBadReplica(report);
}

}  // namespace ballast::client
