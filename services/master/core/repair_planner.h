// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "common/base/rng.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_picture.h"
#include "services/master/core/cluster_view.h"

namespace ballast::master {

// What a chunk lacks.
enum class ChunkNeed : uint8_t {
  kNone,
  kLost,     // no replica counts or is expected: nothing can be done but wait for a server
  kCopy,     // fewer replicas count or are expected than are wanted
  kDrain,    // enough count, but too few on servers that are to stay
  kTrim,     // more on staying servers than are wanted
  kDamaged,  // just as many as are wanted, and a damaged one beside them
};

struct Assessment {
  ChunkNeed need = ChunkNeed::kNone;
  // kCopy: replicas that count or are expected, the fewer the more urgent. kDrain: those that stay.
  int urgency = 0;
};

// Pure; O(replicas).
Assessment Assess(const ChunkPicture& picture);

// What every server has to do with copies now; the planner's own choices are added by the caller.
struct CopyLoad {
  uint32_t incoming = 0;  // copies to it
  uint32_t outgoing = 0;  // copies for which it is the first source
  uint64_t incoming_bytes = 0;
};

// What one server may have under way.
struct CopySlots {
  uint32_t incoming_max = 16;                         // copies to it
  uint32_t outgoing_max = 16;                         // copies from it
  uint64_t incoming_bytes_max = uint64_t{128} << 20;  // to it; one copy may always go

  bool HasRoom(const CopyLoad& target, uint64_t bytes) const {
    return target.incoming < incoming_max &&
           (target.incoming == 0 || target.incoming_bytes + bytes <= incoming_bytes_max);
  }
};

struct PlannedCopy {
  ChunkHandle handle;
  uint32_t length_bytes = 0;
  ServerIndex target;
  absl::InlinedVector<ServerIndex, ChunkRecord::kSlots> sources;  // best first
  ServerIndex trim_from;  // a drain: the replica to trim afterwards; 0: none
};

// Chooses source and target for one more replica of a chunk.
//
// The target accepts replicas, has no replica of the chunk in any standing, room for it and a free
// slot; one in a zone that has none yet is preferred, and among equals the
// chance is proportional to free bytes. Sources are replicas that count: verified ones first, those
// on servers that are being drained last only if equal, the least loaded first; the first one has
// fewer than outgoing_max copies. `load` has an entry for each position of the view.
//   RESOURCE_EXHAUSTED / OVERLOADED         all that would do are at their limits: try again soon
//   FAILED_PRECONDITION / TOO_FEW_SERVERS   no server may take it: every one that accepts replicas
//                                           has it already, or there is none
//   RESOURCE_EXHAUSTED / NO_SPACE           those that may take it have no room
// Pure, but for the chance in `rng`. O(servers).
absl::StatusOr<PlannedCopy> PlanCopy(const ClusterView& view, const std::vector<CopyLoad>& load,
                                     const CopySlots& slots, const ChunkPicture& picture, Rng& rng);

// Which replica of a chunk with kTrim goes: on the fullest server, in a zone that has another one
// if any zone has two; ties by server number, so that two leaders choose the same. Only verified
// replicas beside it count for safety, so the caller has them verified first. Pure.
ServerIndex ChooseSurplus(const ClusterView& view, const ChunkPicture& picture);

}  // namespace ballast::master
