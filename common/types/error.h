// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "protos/errors.pb.h"

// Ballast's errors: an absl::Status whose code says what kind, with a v1::ErrorDetail as payload
// that says which (reason) and what would help (hint). docs/protocols/errors.md lists them all.

namespace ballast {

// A status with `reason` attached; the code is the reason's own (see CodeOf).
absl::Status MakeError(v1::Reason reason, absl::string_view text);
absl::Status MakeError(const v1::ErrorDetail& detail, absl::string_view text);

// The canonical code that goes with a reason, one each. kUnknown for REASON_UNSPECIFIED.
absl::StatusCode CodeOf(v1::Reason reason);

// "NOT_LEADER" and so on; "UNSPECIFIED" for numbers this build does not know.
absl::string_view ReasonName(v1::Reason reason);

// The detail of a status, if it carries one.
std::optional<v1::ErrorDetail> DetailOf(const absl::Status& status);

// REASON_UNSPECIFIED for OK and for errors that are not Ballast's own.
v1::Reason ReasonOf(const absl::Status& status);

// --- the common ones ----------------------------------------------------------------------------
absl::Status NotLeaderError(absl::string_view leader_address);  // empty: unknown
absl::Status NotReadyError(absl::string_view text, absl::Duration retry_after);
absl::Status WrongGroupError(uint64_t config_version, absl::string_view text);
absl::Status InvalidArgument(absl::string_view text);

// True if the operation certainly did not happen and never will: our own definite codes, and our
// own reasons among the codes that a transport may also produce. False: it may have happened.
bool IsDefinite(const absl::Status& status);

}  // namespace ballast
