// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/session_table.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/types/limits.h"

namespace ballast::master {

bool SessionTable::Open(SessionId id, uint64_t now_ms) {
  if (sessions_.size() >= kSessionsPerShardMax) return false;
  Session session;
  session.last_used_ms = now_ms;
  CHECK(sessions_.emplace(id, std::move(session)).second) << " session " << id;
  by_use_.emplace(now_ms, id);
  return true;
}

void SessionTable::Close(SessionId id) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  by_use_.erase({it->second.last_used_ms, id});
  sessions_.erase(it);
}

void SessionTable::CloseIfIdle(SessionId id, uint64_t idle_ms, uint64_t now_ms) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  if (now_ms < it->second.last_used_ms || now_ms - it->second.last_used_ms < idle_ms) return;
  Close(id);
}

std::vector<SessionId> SessionTable::Idle(uint64_t idle_ms, uint64_t now_ms, size_t limit) const {
  std::vector<SessionId> ids;
  for (const auto& [last_used_ms, id] : by_use_) {
    if (ids.size() == limit || now_ms < last_used_ms || now_ms - last_used_ms < idle_ms) break;
    ids.push_back(id);
  }
  return ids;
}

void SessionTable::Touch(SessionId id, Session& session, uint64_t now_ms) {
  if (session.last_used_ms == now_ms) return;
  by_use_.erase({session.last_used_ms, id});
  session.last_used_ms = now_ms;
  by_use_.emplace(now_ms, id);
}

SessionTable::Verdict SessionTable::Admit(const mlog::Request& request, uint64_t now_ms) {
  const auto refuse = [](v1::Reason reason, absl::string_view text) {
    return Verdict{Admission::kRefuse, Refusal(reason, text)};
  };
  const uint64_t sequence = request.sequence();
  const uint64_t first_incomplete = std::max<uint64_t>(request.first_incomplete(), 1);
  if (sequence == 0) return refuse(v1::REASON_INVALID_ARGUMENT, "request.sequence is 0");
  if (first_incomplete > sequence) {
    return refuse(v1::REASON_INVALID_ARGUMENT, "request.first_incomplete is above its sequence");
  }
  const auto it = sessions_.find(SessionId(request.session_id()));
  if (it == sessions_.end()) {
    return refuse(v1::REASON_SESSION_EXPIRED, "the session has ended or never was");
  }
  Session& session = it->second;
  Touch(it->first, session, now_ms);
  if (first_incomplete > session.first_incomplete) {
    session.first_incomplete = first_incomplete;
    session.replies.erase(session.replies.begin(), session.replies.lower_bound(first_incomplete));
  }
  if (sequence < session.first_incomplete) {
    return refuse(v1::REASON_SESSION_EXPIRED,
                  "the reply was declared received and is forgotten (request.first_incomplete)");
  }
  if (const auto reply = session.replies.find(sequence); reply != session.replies.end()) {
    if (reply->second.fingerprint != request.fingerprint()) {
      return refuse(v1::REASON_REQUEST_REUSED, "the sequence was used for another request");
    }
    Verdict verdict{Admission::kReplay, {}};
    CHECK(verdict.result.ParseFromString(reply->second.result));
    return verdict;
  }
  if (session.replies.size() >= kSessionRepliesMax) {
    return refuse(v1::REASON_OVERLOADED,
                  "too many unconfirmed replies in the session: raise request.first_incomplete");
  }
  return Verdict{Admission::kExecute, {}};
}

void SessionTable::Record(const mlog::Request& request, const mlog::Result& result) {
  const auto it = sessions_.find(SessionId(request.session_id()));
  CHECK(it != sessions_.end());
  Reply reply{request.fingerprint(), result.SerializeAsString()};
  CHECK(it->second.replies.emplace(request.sequence(), std::move(reply)).second);
}

mlog::Session SessionTable::ToProto(SessionId id, const Session& session) {
  mlog::Session proto;
  proto.set_session_id(id.value());
  proto.set_last_used_ms(session.last_used_ms);
  proto.set_first_incomplete(session.first_incomplete);
  for (const auto& [sequence, reply] : session.replies) {
    mlog::Session::Reply& out = *proto.add_replies();
    out.set_sequence(sequence);
    out.set_fingerprint(reply.fingerprint);
    CHECK(out.mutable_result()->ParseFromString(reply.result));
  }
  return proto;
}

bool SessionTable::Import(const mlog::Session& proto) {
  const SessionId id(proto.session_id());
  if (!sessions_.empty() && sessions_.rbegin()->first >= id) return false;
  if (sessions_.size() >= kSessionsPerShardMax || proto.first_incomplete() == 0 ||
      static_cast<size_t>(proto.replies_size()) > kSessionRepliesMax) {
    return false;
  }
  Session session;
  session.last_used_ms = proto.last_used_ms();
  session.first_incomplete = proto.first_incomplete();
  uint64_t last = session.first_incomplete - 1;
  for (const mlog::Session::Reply& reply : proto.replies()) {
    if (reply.sequence() <= last) return false;
    last = reply.sequence();
    session.replies.emplace_hint(session.replies.end(), reply.sequence(),
                                 Reply{reply.fingerprint(), reply.result().SerializeAsString()});
  }
  by_use_.emplace(session.last_used_ms, id);
  sessions_.emplace_hint(sessions_.end(), id, std::move(session));
  return true;
}

}  // namespace ballast::master
