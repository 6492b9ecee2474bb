// SPDX-License-Identifier: Apache-2.0
#include "client/retry_loop.h"

#include "absl/strings/str_cat.h"

namespace ballast::client {
namespace {

constexpr absl::Duration kReportAfter = absl::Seconds(1);
constexpr absl::Duration kReportEvery = absl::Seconds(5);
constexpr uint64_t kSeedStride = 0x9E3779B97F4A7C15;

}  // namespace

RetryLoop::RetryLoop(RetryEnvironment& env, const RetryLimits& limits, const Cancellation* cancel)
    : env_(env),
      limits_(limits),
      cancel_(cancel),
      rng_(env.next_seed.fetch_add(kSeedStride)),
      begin_(env.pacer.Now()),
      last_report_(begin_) {}

bool RetryLoop::Again(const absl::Status& status) {
  if (OutcomeOf(status) == TryOutcome::kUnknown) {
    any_unknown_ = true;
  }
  return AgainUnsent(status);
}

bool RetryLoop::AgainUnsent(const absl::Status& status) {
  ++tries_;
  if (cancel_ != nullptr && cancel_->cancelled()) {
    return false;
  }
  const SteadyTime now = env_.pacer.Now();
  const RetryDecision decision = DecideRetry(limits_, tries_, now - begin_, status, rng_);
  if (!decision.retry) {
    return false;
  }
  const bool long_wait = now + decision.wait - begin_ > kReportAfter;
  if (env_.on_waiting && long_wait && (!reported_ || now - last_report_ >= kReportEvery)) {
    reported_ = true;
    last_report_ = now;
    env_.on_waiting(absl::StrCat(status.message(), " (retrying for ",
                                 absl::FormatDuration(absl::Trunc(now - begin_, absl::Seconds(1))),
                                 ")"));
  }
  env_.pacer.Wait(decision.wait, cancel_);
  return cancel_ == nullptr || !cancel_->cancelled();
}

absl::Status RetryLoop::Explain(const absl::Status& last) const {
  if (tries_ <= 1 || last.ok()) {
    return last;
  }
  const absl::Duration elapsed = absl::Trunc(env_.pacer.Now() - begin_, absl::Milliseconds(100));
  return Annotate(
      last, absl::StrCat("after ", tries_, " tries in ", absl::FormatDuration(elapsed), ": "));
}

absl::Status Annotate(const absl::Status& status, absl::string_view prefix) {
  if (status.ok()) {
    return status;
  }
  absl::Status annotated(status.code(), absl::StrCat(prefix, status.message()));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    annotated.SetPayload(type, payload);
  });
  return annotated;
}

}  // namespace ballast::client
