// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/server_directory.h"

namespace ballast::master {

bool ServerDirectory::Set(const v1::Registry& registry) {
  if (registry.version() <= registry_.version()) {
    return false;
  }
  registry_ = registry;
  settings_ = registry.settings();
  by_index_.clear();
  by_id_.clear();
  for (int i = 0; i < registry_.servers_size(); ++i) {
    by_index_[ServerIndex(registry_.servers(i).server_index())] = i;
    by_id_[registry_.servers(i).server_id()] = i;
  }
  return true;
}

const v1::RegisteredServer* ServerDirectory::Find(ServerIndex index) const {
  const auto it = by_index_.find(index);
  return it == by_index_.end() ? nullptr : &registry_.servers(it->second);
}

const v1::RegisteredServer* ServerDirectory::FindById(absl::string_view server_id) const {
  const auto it = by_id_.find(server_id);
  return it == by_id_.end() ? nullptr : &registry_.servers(it->second);
}

}  // namespace ballast::master
