// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/batch_call.h"

#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/types/limits.h"
#include "services/master/control/object_reads.h"
#include "services/master/control/propose_all.h"

namespace ballast::master {
namespace {

using Operation = v1::BatchRequest::Operation;
using Outcome = v1::BatchResponse::Outcome;

absl::string_view KeyOf(const Operation& operation) {
  switch (operation.op_case()) {
    case Operation::kPutInline:
      return operation.put_inline().key();
    case Operation::kDeleteObject:
      return operation.delete_object().key();
    default:
      return operation.get_object().key();
  }
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
        done_(std::move(done)) {
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
      const bool get = operation.has_get_object();
      if ((get ? written : read).contains(KeyOf(operation))) break;
      (get ? read : written).insert(KeyOf(operation));
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

  void Mutate() {
    std::vector<mlog::Command> commands;
    std::vector<int> places;
    for (int i = begin_; i < end_; ++i) {
      if (request_.operations(i).has_get_object()) continue;
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
    if (request_.operations(place).has_put_inline()) {
      outcome.mutable_put_inline()->set_generation(result.generation());
    } else {
      outcome.mutable_delete_object()->set_generation(result.generation());
    }
  }

  const BatchTools tools_;
  const v1::BatchRequest& request_;
  std::vector<mlog::Command> commands_;
  v1::BatchResponse& response_;
  absl::AnyInvocable<void(absl::Status)> done_;
  int begin_ = 0;  // the round: operations [begin_, end_)
  int end_ = 0;
  size_t reply_bytes_ = 0;
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
