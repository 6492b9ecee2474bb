// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/master_api.h"
#include "common/env/file_system.h"
#include "gateway/cluster_backend.h"
#include "gateway/core/config_history.h"
#include "gateway/group_controller.h"
#include "services/master/server.h"

namespace ballast::gateway {

// The replica group that a gateway's node is, for set_config and config_update: a real master of
// one voter, whose shard controller is the gateway. Configurations that messages name become the
// group's next ones, with the same shards: those it owns, all others nobody does, so that what it
// loses stays frozen and comes back as it was.
//
// Guarantees: OK and `applied` are answered when the group says that it has applied the
// configuration. Concurrency: one thread at a time; calls block. Ownership: `fs` outlives it.
class ConfigGroup {
 public:
  // Makes `folder`, whose parent exists, and starts the group in it.
  static absl::StatusOr<std::unique_ptr<ConfigGroup>> Start(FileSystem& fs,
                                                            const std::string& folder);

  // As ClusterBackend says. INVALID_ARGUMENT: a shard beyond kShardsMax. UNAVAILABLE: the group has
  // not applied it in time; it will, and saying it again is harmless.
  absl::Status Set(const GroupConfiguration& config);
  absl::StatusOr<UpdateOutcome> Update(const GroupConfiguration& config);

  // Where the group's master answers, and the cluster that its calls name.
  const std::string& master_address() const { return master_->address(); }
  const std::string& cluster_id() const { return master_->identity().cluster_id; }
  // What the group says of itself.
  absl::StatusOr<v1::GetGroupStatusResponse> Status();

 private:
  ConfigGroup() = default;
  absl::Status Carry(ConfigHistory::Verdict verdict, const GroupConfiguration& config);
  absl::Status WaitApplied();

  ConfigHistory history_;
  std::unique_ptr<GroupController> controller_;
  std::unique_ptr<client::MasterApi> api_;
  std::unique_ptr<master::Server> master_;  // asks controller_: ends first
};

}  // namespace ballast::gateway
