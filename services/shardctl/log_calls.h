// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/check.h"
#include "common/env/executor.h"
#include "common/raft/replicated_log.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/unary_answer.h"
#include "common/types/error.h"
#include "common/types/ids.h"
#include "services/shardctl/core/command.h"

namespace ballast::shardctl {

struct ServiceFacts {
  std::string cluster_id;
  uint32_t shard_count = 0;
  std::map<NodeId, std::string> addresses;  // of all voters, for NOT_LEADER hints
};

// How shardctl's services use its replicated log: a change is proposed and answered when it is
// applied, a read waits for a read barrier, a long poll waits for news behind one.
//
// Guarantees: mutations are answered OK only when committed and applied; reads show at least
// everything acknowledged before they were called. Reactions of gRPC never block; a call is
// finished exactly once, also when the log drops it. When this node stops being leader, long polls
// end with NOT_LEADER.
// Concurrency: Mutate, Read and Poll on gRPC's threads; Attach and Detach on `executor`, on which
// all functions passed in run.
// Ownership: `executor` must run until the gRPC server has shut down, and have ended before this is
// destroyed. Polls passed in outlive it.
class LogCalls {
 public:
  LogCalls(Executor& executor, ServiceFacts facts)
      : executor_(executor), facts_(std::move(facts)) {}

  const ServiceFacts& facts() const { return facts_; }

  // `fail_polls` is called when nobody can wait any longer, with the reason.
  void SetPolls(std::function<void(const absl::Status&)> fail_polls) {
    fail_polls_ = std::move(fail_polls);
  }

  // From now on calls are served from `log` (before: NOT_READY). Takes the log's role observer.
  void Attach(ReplicatedLog& log) {
    CHECK(log_ == nullptr);
    log_ = &log;
    log.SetRoleObserver([this](const ReplicatedLog::State& state) {
      if (log_ != nullptr && state.role != ReplicatedLog::Role::kLeader) {
        fail_polls_(WithHint(NotLeaderError("")));
      }
    });
  }
  // Afterwards the log is not used; waiting calls have been answered, later ones get NOT_READY.
  void Detach() {
    log_ = nullptr;
    fail_polls_(NotServing());
  }

  // Proposes the request's command; `fill(log::Result)` makes the response once it is applied.
  template <typename Request, typename Fill>
  grpc::ServerUnaryReactor* Mutate(grpc::CallbackServerContext* context, const Request& request,
                                   Fill fill) {
    if (const absl::Status status = Allow(*context); !status.ok()) {
      return FinishNow(context, status);
    }
    const auto command = CommandOf(request);
    if (!command.ok()) {
      return FinishNow(context, command.status());
    }
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    UnaryAnswer answer(reactor, MakeError(v1::REASON_OUTCOME_UNKNOWN, "shardctl is stopping"));
    executor_.Post([this, bytes = command->SerializeAsString(), answer = std::move(answer),
                    fill = std::move(fill)]() mutable {
      if (log_ == nullptr) {
        answer.Finish(NotServing());
        return;
      }
      log_->Propose(std::move(bytes), [this, answer = std::move(answer), fill = std::move(fill)](
                                          absl::StatusOr<ReplicatedLog::Applied> applied) mutable {
        if (!applied.ok()) {
          answer.Finish(WithHint(applied.status()));
          return;
        }
        log::Result result;
        CHECK(result.ParseFromString(applied->result));
        const absl::Status status = StatusOf(result);
        if (status.ok()) {
          fill(result);
        }
        answer.Finish(status);
      });
    });
    return reactor;
  }

  // `fill()` makes the response, or says why there is none.
  template <typename Fill>
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context, Fill fill) {
    if (const absl::Status status = Allow(*context); !status.ok()) {
      return FinishNow(context, status);
    }
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    BehindBarrier(UnaryAnswer(reactor, NotServing()),
                  [fill = std::move(fill)](UnaryAnswer answer) mutable { answer.Finish(fill()); });
    return reactor;
  }

  // Waits in `polls` (LongPolls).
  template <typename Polls>
  grpc::ServerUnaryReactor* Poll(grpc::CallbackServerContext* context, Polls& polls,
                                 const typename Polls::Request* request,
                                 typename Polls::Answer* response) {
    if (const absl::Status status = Allow(*context); !status.ok()) {
      return FinishNow(context, status);
    }
    const uint64_t id = next_poll_.fetch_add(1);
    auto* const reactor = new PollReactor<Polls>(executor_, polls, id);
    BehindBarrier(UnaryAnswer(reactor, NotServing()), [id, context, &polls, request = *request,
                                                       response](UnaryAnswer answer) mutable {
      if (context->IsCancelled()) {  // OnCancel may have come before there was a call to remove
        answer.Finish(absl::CancelledError("the caller has gone"));
        return;
      }
      polls.Add(id, request, [answer = std::move(answer), response](auto news) mutable {
        const absl::Status status = news.status();
        if (status.ok()) {
          *response = *std::move(news);
        }
        answer.Finish(status);
      });
    });
    return reactor;
  }

 private:
  // Tells the polls when its caller goes. Deletes itself when gRPC has done with it.
  template <typename Polls>
  class PollReactor final : public grpc::ServerUnaryReactor {
   public:
    PollReactor(Executor& executor, Polls& polls, uint64_t id)
        : executor_(executor), polls_(polls), id_(id) {}
    void OnCancel() override {
      executor_.Post([&polls = polls_, id = id_] { polls.Remove(id); });
    }
    void OnDone() override { delete this; }

   private:
    Executor& executor_;
    Polls& polls_;
    const uint64_t id_;
  };

  static absl::Status NotServing() {
    return NotReadyError("shardctl is starting or stopping", absl::Milliseconds(20));
  }
  absl::Status Allow(const grpc::CallbackServerContext& context) const {
    return CheckClusterId(context, facts_.cluster_id);
  }

  // `then(UnaryAnswer)` runs when everything committed before has been applied.
  template <typename Then>
  void BehindBarrier(UnaryAnswer answer, Then then) {
    executor_.Post([this, answer = std::move(answer), then = std::move(then)]() mutable {
      if (log_ == nullptr) {
        answer.Finish(NotServing());
        return;
      }
      log_->ReadBarrier(
          [this, answer = std::move(answer), then = std::move(then)](absl::Status barrier) mutable {
            if (!barrier.ok() || log_ == nullptr) {
              answer.Finish(barrier.ok() ? NotServing() : WithHint(barrier));
              return;
            }
            then(std::move(answer));
          });
    });
  }

  // With a hint to the leader, if the log said NOT_LEADER.
  absl::Status WithHint(const absl::Status& status) const {
    if (ReasonOf(status) != v1::REASON_NOT_LEADER || log_ == nullptr) {
      return status;
    }
    const auto leader = log_->state().leader;
    const auto known = leader.has_value() ? facts_.addresses.find(*leader) : facts_.addresses.end();
    return NotLeaderError(known == facts_.addresses.end() ? "" : known->second);
  }

  Executor& executor_;
  const ServiceFacts facts_;
  std::function<void(const absl::Status&)> fail_polls_ = [](const absl::Status&) {};
  std::atomic<uint64_t> next_poll_{1};
  ReplicatedLog* log_ = nullptr;  // owned by the executor
};

}  // namespace ballast::shardctl
