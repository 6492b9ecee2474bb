// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/master/core/replica_mover.h"

namespace ballast::master {

// A ReplicaMover that waits to be told how each move ends.
class FakeReplicaMover final : public ReplicaMover {
 public:
  void Move(ChunkHandle handle, absl::string_view from_server_id, absl::string_view to_server_id,
            Done done) override {
    moves.push_back(absl::StrCat(handle.value(), " ", from_server_id, " ", to_server_id));
    waiting.push_back(std::move(done));
  }

  std::vector<std::string> moves;
  std::vector<Done> waiting;
};

}  // namespace ballast::master
