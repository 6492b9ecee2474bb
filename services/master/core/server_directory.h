// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"
#include "protos/shardctl_service.pb.h"
#include "services/master/core/requests.h"

namespace ballast::master {

// The shard controller's registry as this master last heard it: who the chunk servers are, and the
// cluster's settings. Outlives terms; says nothing of who lives.
//
// Concurrency: none. Pointers are valid until the next Set.
class ServerDirectory {
 public:
  // Takes a registry over if it is newer than the present one; false otherwise.
  bool Set(const v1::Registry& registry);

  // False until the first registry came: then nobody can be told apart from a stranger.
  bool known() const { return registry_.version() > 0; }
  const v1::Registry& registry() const { return registry_; }

  // Null if there is no such server. Removed ones are found, too.
  const v1::RegisteredServer* Find(ServerIndex index) const;
  const v1::RegisteredServer* FindById(absl::string_view server_id) const;

  // Settings in force: the registry's, and until it is known the documented defaults.
  const v1::Settings& settings() const { return settings_; }

 private:
  v1::Registry registry_;
  v1::Settings settings_ = DefaultSettings();
  absl::btree_map<ServerIndex, int> by_index_;  // position in registry_.servers()
  absl::btree_map<std::string, int> by_id_;     // likewise
};

}  // namespace ballast::master
