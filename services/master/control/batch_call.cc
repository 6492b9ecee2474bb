// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/batch_call.h"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/types/limits.h"
#include "services/master/control/object_reads.h"
#include "services/master/control/propose_all.h"
#include "services/master/control/write_replies.h"
#include "services/master/core/requests.h"

namespace ballast::master {
namespace {

using Operation = v1::BatchRequest::Operation;
using Outcome = v1::BatchResponse::Outcome;

// The object that an operation reads or changes. None for the steps before a commit: no read sees
// them.
std::optional<absl::string_view> ObjectOf(const Operation& operation) {
  switch (operation.op_case()) {
    case Operation::kPutInline:
      return operation.put_inline().key();
    case Operation::kDeleteObject:
      return operation.delete_object().key();
    case Operation::kCommitObject:
      return operation.commit_object().key();
    case Operation::kSetReplication:
      return operation.set_replication().key();
    case Operation::kGetObject:
      return operation.get_object().key();
    case Operation::kBeginWrite:
    case Operation::kSealChunks:
    case Operation::OP_NOT_SET:
      break;
  }
  return std::nullopt;
}

void SetStatus(const absl::Status& status, Outcome& outcome) {
  outcome.set_code(static_cast<uint32_t>(status.code()));
  if (status.ok()) return;
  outcome.set_text(std::string(status.message()));
  if (const auto detail = DetailOf(status)) *outcome.mutable_error() = *detail;
}

class BatchCall : public std::enable_shared_from_this<BatchCall> {
 public:
  BatchCall(const BatchTools& tools, const v1::BatchRequest& request,
            std::vector<mlog::Command> commands, v1::BatchResponse& response,
            absl::AnyInvocable<void(absl::Status)> done)
      : tools_(tools),
        request_(request),
        commands_(std::move(commands)),
        response_(response),
        done_(std::move(done)),
        reply_bytes_(BegunBytesMax(request)) {
    for (int i = 0; i < request.operations_size(); ++i) response.add_outcomes();
  }

  void NextRound() {
    if (begin_ == request_.operations_size()) {
      done_(absl::OkStatus());
      return;
    }
    end_ = EndOfRound();
    bool reads = false;
    for (int i = begin_; i < end_; ++i) reads |= request_.operations(i).has_get_object();
    if (!reads) {
      Mutate();
      return;
    }
    ReplicatedLog* log = tools_.proposer->log();
    if (log == nullptr) {
      done_(NotReadyError("the master is stopping", absl::Milliseconds(100)));
      return;
    }
    log->ReadBarrier([self = shared_from_this()](absl::Status barrier) {
      if (!barrier.ok()) {
        self->done_(barrier);
        return;
      }
      self->Read();
      self->Mutate();
    });
  }

 private:
  int EndOfRound() const {
    std::set<absl::string_view> read;
    std::set<absl::string_view> written;
    int end = begin_;
    for (; end < request_.operations_size(); ++end) {
      const Operation& operation = request_.operations(end);
      const std::optional<absl::string_view> object = ObjectOf(operation);
      if (!object.has_value()) continue;
      const bool get = operation.has_get_object();
      if ((get ? written : read).contains(*object)) break;
      (get ? read : written).insert(*object);
    }
    return end;
  }

  void Read() {
    for (int i = begin_; i < end_; ++i) {
      if (!request_.operations(i).has_get_object()) continue;
      Outcome& outcome = *response_.mutable_outcomes(i);
      if (reply_bytes_ > kReplyBytesTarget) {
        SetStatus(MakeError(v1::REASON_OVERLOADED, "the batch's reply is full: get this one anew"),
                  outcome);
        continue;
      }
      const absl::Status status =
          ReadObject(*tools_.machine, *tools_.view, request_.operations(i).get_object(),
                     *outcome.mutable_get_object());
      if (!status.ok()) outcome.clear_get_object();
      SetStatus(status, outcome);
      reply_bytes_ += outcome.ByteSizeLong();
    }
  }

  // Servers first, as in the unary call: a write that cannot succeed now leaves no draft behind.
  // False if there are none; then the operation has its outcome.
  bool Place(int i) {
    const v1::BeginWriteRequest& request = request_.operations(i).begin_write();
    auto placements = PlaceFirstChunks(*tools_.view, request, commands_[i].begin_write());
    if (!placements.ok()) {
      SetStatus(placements.status(), *response_.mutable_outcomes(i));
      return false;
    }
    begun_[i] = {*std::move(placements), ShardId(commands_[i].shard()),
                 static_cast<uint32_t>(commands_[i].begin_write().expiry_ms())};
    return true;
  }

  void Mutate() {
    std::vector<mlog::Command> commands;
    std::vector<int> places;
    for (int i = begin_; i < end_; ++i) {
      if (request_.operations(i).has_get_object()) continue;
      if (request_.operations(i).has_begin_write() && !Place(i)) continue;
      commands.push_back(std::move(commands_[i]));
      places.push_back(i);
    }
    ProposeAll(*tools_.proposer, std::move(commands),
               [self = shared_from_this(),
                places = std::move(places)](absl::StatusOr<std::vector<mlog::Result>> results) {
                 if (!results.ok()) {
                   self->done_(results.status());
                   return;
                 }
                 for (size_t i = 0; i < places.size(); ++i) self->Tell(places[i], (*results)[i]);
                 self->begin_ = self->end_;
                 self->NextRound();
               });
  }

  void Tell(int place, const mlog::Result& result) {
    Outcome& outcome = *response_.mutable_outcomes(place);
    const absl::Status status = ToStatus(result);
    SetStatus(status, outcome);
    if (!status.ok()) return;
    switch (request_.operations(place).op_case()) {
      case Operation::kPutInline:
        outcome.mutable_put_inline()->set_generation(result.generation());
        return;
      case Operation::kDeleteObject:
        outcome.mutable_delete_object()->set_generation(result.generation());
        return;
      case Operation::kBeginWrite: {
        Begun& begun = begun_.at(place);
        FillBegun(begun.shard, result, begun.expiry_ms, std::move(begun.placements),
                  *outcome.mutable_begin_write());
        return;
      }
      case Operation::kSealChunks:
        outcome.mutable_seal_chunks();
        return;
      case Operation::kCommitObject:
        outcome.mutable_commit_object()->set_generation(result.generation());
        return;
      case Operation::kSetReplication:
        outcome.mutable_set_replication();
        return;
      case Operation::kGetObject:
      case Operation::OP_NOT_SET:
        CHECK(false) << "no mutation";
    }
  }

  // A begin_write whose servers are chosen and whose command is proposed.
  struct Begun {
    std::vector<Placement> placements;
    ShardId shard;
    uint32_t expiry_ms = 0;
  };

  const BatchTools tools_;
  const v1::BatchRequest& request_;
  std::vector<mlog::Command> commands_;
  v1::BatchResponse& response_;
  absl::AnyInvocable<void(absl::Status)> done_;
  int begin_ = 0;  // the round: operations [begin_, end_)
  int end_ = 0;
  std::map<int, Begun> begun_;  // by place
  size_t reply_bytes_;          // of reads so far, and what all begin_write may take
};

}  // namespace

void RunBatch(const BatchTools& tools, const v1::BatchRequest& request,
              std::vector<mlog::Command> commands, v1::BatchResponse& response,
              absl::AnyInvocable<void(absl::Status)> done) {
  CHECK_EQ(commands.size(), static_cast<size_t>(request.operations_size()));
  std::make_shared<BatchCall>(tools, request, std::move(commands), response, std::move(done))
      ->NextRound();
}

}  // namespace ballast::master
