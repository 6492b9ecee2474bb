// SPDX-License-Identifier: Apache-2.0
#include "client/chunk_transport.h"

#include "common/types/limits.h"

namespace ballast::client {

void ServerHealth::Failed(const std::string& server_id, SteadyTime now) {
  absl::MutexLock lock(&mu_);
  if (failed_.size() >= kServerIndexMax) {
    failed_.clear();
  }
  failed_[server_id] = now;
}

void ServerHealth::Works(const std::string& server_id) {
  absl::MutexLock lock(&mu_);
  failed_.erase(server_id);
}

bool ServerHealth::FailedLately(const std::string& server_id, SteadyTime now) const {
  absl::MutexLock lock(&mu_);
  const auto it = failed_.find(server_id);
  return it != failed_.end() && now - it->second < memory_;
}

std::vector<std::string> ServerHealth::AllFailedLately(SteadyTime now) const {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> ids;
  for (const auto& [id, when] : failed_) {
    if (now - when < memory_) {
      ids.push_back(id);
    }
  }
  return ids;
}

}  // namespace ballast::client
