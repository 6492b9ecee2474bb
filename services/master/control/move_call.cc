// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/move_call.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/types/error.h"

namespace ballast::master {
namespace {

constexpr int kMovesMax = 1024;

struct Gathering {
  v1::MoveReplicasResponse* response = nullptr;
  int missing = 0;
  bool some_begun = false;  // certainly
  absl::Status failure;     // of the call
  absl::AnyInvocable<void(absl::Status)> done;
};

void Take(Gathering& gathering, int index, absl::StatusOr<CopyOutcome> outcome) {
  if (!outcome.ok()) {
    const bool unknown = ReasonOf(outcome.status()) == v1::REASON_OUTCOME_UNKNOWN;
    if (gathering.failure.ok() || unknown) {
      gathering.failure = outcome.status();
    }
  } else {
    const absl::Status& status = outcome->status;
    v1::MoveReplicasResponse::Outcome& entry = *gathering.response->mutable_outcomes(index);
    entry.set_bytes_copied(outcome->bytes_copied);
    entry.set_code(static_cast<uint32_t>(status.code()));
    if (!status.ok()) {
      entry.set_text(std::string(status.message()));
      if (const auto detail = DetailOf(status)) {
        *entry.mutable_error() = *detail;
      }
    }
    gathering.some_begun |= status.ok() || outcome->bytes_copied > 0;
  }
  if (--gathering.missing > 0) {
    return;
  }
  if (!gathering.failure.ok() && gathering.some_begun) {
    gathering.failure = MakeError(v1::REASON_OUTCOME_UNKNOWN,
                                  "the leader changed when some of the moves had been made");
  }
  gathering.done(gathering.failure);
}

}  // namespace

absl::Status Check(const v1::MoveReplicasRequest& request) {
  if (request.moves_size() == 0 || request.moves_size() > kMovesMax) {
    return InvalidArgument("moves must be 1..1024");
  }
  for (int i = 0; i < request.moves_size(); ++i) {
    const v1::MoveReplicasRequest::Move& move = request.moves(i);
    if (move.from_server_id().empty() || move.to_server_id().empty()) {
      return InvalidArgument(absl::StrCat("moves[", i, "] names no source or no target"));
    }
  }
  return absl::OkStatus();
}

void RunMoves(ReplicaMover& mover, const v1::MoveReplicasRequest& request,
              v1::MoveReplicasResponse& response, absl::AnyInvocable<void(absl::Status)> done) {
  auto gathering = std::make_shared<Gathering>();
  gathering->response = &response;
  gathering->missing = request.moves_size();
  gathering->done = std::move(done);
  for (int i = 0; i < request.moves_size(); ++i) {
    response.add_outcomes();
  }
  for (int i = 0; i < request.moves_size(); ++i) {
    const v1::MoveReplicasRequest::Move& move = request.moves(i);
    mover.Move(ChunkHandle(move.handle()), move.from_server_id(), move.to_server_id(),
               [gathering, i](absl::StatusOr<CopyOutcome> outcome) {
                 Take(*gathering, i, std::move(outcome));
               });
  }
}

}  // namespace ballast::master
