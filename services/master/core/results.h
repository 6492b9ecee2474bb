// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/types/error.h"
#include "protos/master_log.pb.h"

// Outcomes of durable commands: mlog::Result is what a replica computes, stores and returns.

namespace ballast::master {

namespace mlog = v1::master_log;

// A refusal: the reason's own code, and a text of bounded length (texts are kept in sessions).
mlog::Result Refusal(v1::Reason reason, absl::string_view text);

// The same from a status that carries a reason; INVALID_ARGUMENT statuses need none.
mlog::Result Refusal(const absl::Status& status);

// The status a caller sees, with the configuration number as hint for WRONG_GROUP.
absl::Status ToStatus(const mlog::Result& result);

}  // namespace ballast::master
