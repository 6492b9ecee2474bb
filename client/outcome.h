// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/types/error.h"

// What a caller is told of one operation, whether it went alone or with others. Pure.

namespace ballast::client {

// Some try may have been executed, and that cannot be learned any more.
inline absl::Status OutcomeUnknown(absl::string_view why) {
  return MakeError(v1::REASON_OUTCOME_UNKNOWN,
                   absl::StrCat("it is not known whether the operation happened: ", why));
}

// Of one of many in an answer: a message with code, error and text.
template <typename Outcome>
absl::Status StatusOf(const Outcome& outcome) {
  if (outcome.code() == 0) {
    return absl::OkStatus();
  }
  if (outcome.error().reason() != v1::REASON_UNSPECIFIED) {
    return MakeError(outcome.error(), outcome.text());
  }
  return absl::Status(static_cast<absl::StatusCode>(outcome.code()), outcome.text());
}

}  // namespace ballast::client
