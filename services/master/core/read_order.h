// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "common/types/ids.h"
#include "services/master/core/liveness.h"

namespace ballast::master {

// How good one replica is for a reader, best first. Whether bytes are right is never a matter of
// this: readers verify checksums and go on to the next replica.
enum class ReadRank : uint8_t {
  kLive,         // its living server reported it, sound
  kUnconfirmed,  // logged, its server lives, but has not (or not yet) reported it: just written, or
                 // its list is still to come
  kSuspect,      // on a suspect server
  kUnknown,      // logged, its server has not been heard of since this leader began
  kNone,         // not to be read: dead server, bad bytes, or no sign of it
};

// `list_known`: the server's list of the shard has been complete since this leader began, so that
// the record's live flags mean something (LiveReplicas). `flags` are ChunkRecord's.
ReadRank RankReplica(LivenessState server, bool list_known, uint8_t flags);

// Orders replicas of equal rank: the same server first for the same chunk, from every client, so
// that one server caches it; different ones for different chunks.
uint64_t ReadPreference(ChunkHandle handle, ServerIndex server);

}  // namespace ballast::master
