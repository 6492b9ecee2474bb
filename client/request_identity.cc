// SPDX-License-Identifier: Apache-2.0
#include "client/request_identity.h"

namespace ballast::client {

std::optional<v1::RequestId> RequestIdentity::Begin(ShardId shard) {
  absl::MutexLock lock(&mu_);
  const auto it = sessions_.find(shard);
  if (it == sessions_.end()) {
    return std::nullopt;
  }
  Session& session = it->second;
  const uint64_t sequence = session.next_sequence++;
  session.incomplete.insert(sequence);
  v1::RequestId request;
  request.set_session_id(session.id.value());
  request.set_sequence(sequence);
  request.set_first_incomplete(*session.incomplete.begin());
  return request;
}

void RequestIdentity::Finish(const v1::RequestId& request) {
  absl::MutexLock lock(&mu_);
  const SessionId id(request.session_id());
  const auto it = sessions_.find(ShardOf(id));
  if (it != sessions_.end() && it->second.id == id) {
    it->second.incomplete.erase(request.sequence());
  }
}

bool RequestIdentity::Adopt(ShardId shard, SessionId session) {
  absl::MutexLock lock(&mu_);
  return sessions_.try_emplace(shard, Session{session, 1, {}}).second;
}

void RequestIdentity::Expire(SessionId session) {
  absl::MutexLock lock(&mu_);
  const auto it = sessions_.find(ShardOf(session));
  if (it != sessions_.end() && it->second.id == session) {
    sessions_.erase(it);
  }
}

std::vector<SessionId> RequestIdentity::TakeAll() {
  absl::MutexLock lock(&mu_);
  std::vector<SessionId> ids;
  for (const auto& [shard, session] : sessions_) {
    ids.push_back(session.id);
  }
  sessions_.clear();
  return ids;
}

}  // namespace ballast::client
