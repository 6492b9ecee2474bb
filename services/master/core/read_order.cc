// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/read_order.h"

#include "services/master/core/chunk_table.h"

namespace ballast::master {

ReadRank RankReplica(LivenessState server, bool list_known, uint8_t flags) {
  const bool logged = (flags & ChunkRecord::kLogged) != 0;
  const bool reported = list_known && (flags & ChunkRecord::kLive) != 0;
  if ((flags & ChunkRecord::kCorrupt) != 0 || !(logged || reported)) {
    return ReadRank::kNone;
  }
  switch (server) {
    case LivenessState::kAlive:
      return reported ? ReadRank::kLive : ReadRank::kUnconfirmed;
    case LivenessState::kSuspect:
      return ReadRank::kSuspect;
    case LivenessState::kUnknown:
      return ReadRank::kUnknown;
    case LivenessState::kDead:
      return ReadRank::kNone;
  }
  return ReadRank::kNone;
}

uint64_t ReadPreference(ChunkHandle handle, ServerIndex server) {
  // Rendezvous hashing (Thaler, Ravishankar, 1998) with the finaliser of splitmix64: a server that
  // comes or goes changes the first choice only of the chunks it has or had.
  uint64_t z = handle.value() ^ (uint64_t{server.value()} << 32 | server.value());
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

}  // namespace ballast::master
