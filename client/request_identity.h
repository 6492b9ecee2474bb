// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/types/ids.h"
#include "protos/common.pb.h"

namespace ballast::client {

// Names this client's mutations, so that each is applied once however often it is retried.
//
// One session a shard. A session's sequences are 1, 2, 3, ...; every request has one of its own and
// is *incomplete* from Begin to Finish, all its retries included. first_incomplete <= sequence, and
// no request below first_incomplete is ever sent again. It is drawn once a request, so that
// retries are equal to the first try in every byte.
//
// Concurrency: thread-safe; never blocks.
class RequestIdentity {
 public:
  // A new request at `shard`; nothing if no session is known there: open one, then Adopt it.
  std::optional<v1::RequestId> Begin(ShardId shard);

  // The request has its final answer, or will never be retried.
  void Finish(const v1::RequestId& request);

  // Takes over a session just opened. False if the shard has one already: then this one is to be
  // closed by the caller.
  bool Adopt(ShardId shard, SessionId session);

  // The server does not know this session any more: Begin will ask for a new one. Unknown ones are
  // ignored (another thread was told first).
  void Expire(SessionId session);

  // All sessions, forgotten from now on: for closing them at the end.
  std::vector<SessionId> TakeAll();

 private:
  struct Session {
    SessionId id;
    uint64_t next_sequence = 1;
    std::set<uint64_t> incomplete;
  };

  absl::Mutex mu_;
  std::map<ShardId, Session> sessions_ ABSL_GUARDED_BY(mu_);
};

// The shard of a session or draft id: its upper 16 bits.
inline ShardId ShardOf(SessionId id) { return ChunkHandle(id.value()).shard(); }
inline ShardId ShardOf(DraftId id) { return ChunkHandle(id.value()).shard(); }

}  // namespace ballast::client
