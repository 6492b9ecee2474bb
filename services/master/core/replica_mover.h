// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"
#include "services/master/core/copy_table.h"

namespace ballast::master {

// What the metadata service asks of whoever makes copies.
//
// Concurrency: all on the master's executor; `done` runs there, once, never inside the call. What
// waits at the process's end is destroyed unrun.
class ReplicaMover {
 public:
  // The move's own outcome. Or, if this node stops leading:
  //   UNAVAILABLE / NOT_LEADER, NOT_READY   the move was not begun
  //   UNAVAILABLE / OUTCOME_UNKNOWN         it was; another leader may finish it
  using Done = absl::AnyInvocable<void(absl::StatusOr<CopyOutcome>)>;

  virtual ~ReplicaMover() = default;

  // Moves a replica between two servers (ids as registered).
  virtual void Move(ChunkHandle handle, absl::string_view from_server_id,
                    absl::string_view to_server_id, Done done) = 0;
};

}  // namespace ballast::master
