// SPDX-License-Identifier: Apache-2.0
#include "gateway/bad_input_log.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"

namespace ballast::gateway {
namespace {

constexpr int64_t kLineCostMs = 1000 / BadInputLog::kPerSecond;
constexpr int64_t kAllowanceMaxMs = BadInputLog::kBurst * kLineCostMs;

}  // namespace

BadInputLog::BadInputLog(Say say) : say_(std::move(say)) {}

void BadInputLog::Note(uint64_t line, absl::string_view problem, SteadyTime now) {
  const int64_t passed_ms = absl::ToInt64Milliseconds(now - refilled_at_);
  if (passed_ms > 0) {
    allowance_ms_ = std::min(kAllowanceMaxMs, allowance_ms_ + std::min(passed_ms, kAllowanceMaxMs));
    refilled_at_ = refilled_at_ + absl::Milliseconds(passed_ms);
  }
  last_line_ = line;
  if (allowance_ms_ < kLineCostMs || !say_(line, problem, unsaid_)) {
    ++unsaid_;
    return;
  }
  allowance_ms_ -= kLineCostMs;
  unsaid_ = 0;
}

void BadInputLog::End() {
  if (unsaid_ > 0) {
    say_(last_line_, "the end", unsaid_);
  }
}

}  // namespace ballast::gateway
