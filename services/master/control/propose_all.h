// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "services/master/control/proposer.h"

namespace ballast::master {

// Proposes commands in one turn, so that they share an entry where they fit, and calls back once:
// with all results in order, or with the first failure of the log, in which case some of the
// commands may have been executed. No commands: an empty list. On the executor.
void ProposeAll(Proposer& proposer, std::vector<mlog::Command> commands,
                absl::AnyInvocable<void(absl::StatusOr<std::vector<mlog::Result>>)> done);

}  // namespace ballast::master
