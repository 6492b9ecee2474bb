// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "common/types/ids.h"
#include "services/master/core/results.h"

namespace ballast::master {

// Exactly-once for the requests of one shard (after RIFL, SOSP 2015).
//
// A session belongs to one client. Its requests are numbered by the client; each number is executed
// at most once, and the reply of every executed number >= first_incomplete is kept, so that a
// retry, however late, gets the same reply. first_incomplete is the client's promise that it has
// the replies of all lower numbers; it never goes back. Time is group time, in ms.
//
// Relations: every kept sequence >= the session's first_incomplete; at most kSessionRepliesMax
// replies a session.
//
// Concurrency: none.
class SessionTable {
 public:
  enum class Admission {
    kExecute,  // new: execute it, then Record its result
    kReplay,   // executed before: answer with `result`
    kRefuse,   // not to be executed, not to be recorded: answer with `result`
  };
  struct Verdict {
    Admission admission = Admission::kRefuse;
    mlog::Result result;
  };

  size_t size() const { return sessions_.size(); }

  // False, and nothing happens, if the table is full. Requires: an id never used before.
  bool Open(SessionId id, uint64_t now_ms);

  // Ends a session; unknown ones are ignored.
  void Close(SessionId id);

  // Ends the session if it was unused for idle_ms.
  void CloseIfIdle(SessionId id, uint64_t idle_ms, uint64_t now_ms);

  // Up to `limit` sessions unused for idle_ms, longest unused first.
  std::vector<SessionId> Idle(uint64_t idle_ms, uint64_t now_ms, size_t limit) const;

  // Judges a request. A known session counts as used now, and forgets replies that the request
  // declares received. Refusals:
  //   ABORTED / SESSION_EXPIRED        unknown or ended session, or a sequence declared received
  //   INVALID_ARGUMENT                 sequence 0, or first_incomplete above the sequence
  //   INVALID_ARGUMENT / REQUEST_REUSED  the sequence was executed with another fingerprint
  //   RESOURCE_EXHAUSTED / OVERLOADED  too many replies are kept already
  Verdict Admit(const mlog::Request& request, uint64_t now_ms);

  // Keeps the result of a request that Admit said to execute, in the same command.
  void Record(const mlog::Request& request, const mlog::Result& result);

  // --- image ---
  // fn(const mlog::Session&) for every session, by id.
  template <typename Fn>
  void Export(Fn&& fn) const {
    for (const auto& [id, session] : sessions_) fn(ToProto(id, session));
  }
  // False if it breaks a rule above or comes out of order.
  bool Import(const mlog::Session& proto);

 private:
  struct Reply {
    uint32_t fingerprint = 0;
    std::string result;  // mlog::Result, serialised
  };
  struct Session {
    uint64_t last_used_ms = 0;
    uint64_t first_incomplete = 1;
    absl::btree_map<uint64_t, Reply> replies;  // by sequence
  };
  static mlog::Session ToProto(SessionId id, const Session& session);
  void Touch(SessionId id, Session& session, uint64_t now_ms);

  absl::btree_map<SessionId, Session> sessions_;
  absl::btree_set<std::pair<uint64_t, SessionId>> by_use_;  // (last_used_ms, id) of each
};

}  // namespace ballast::master
