// SPDX-License-Identifier: Apache-2.0
#include "gateway/cluster_calls.h"

#include <vector>

#include "client/metadata_client.h"
#include "common/base/status_macros.h"

namespace ballast::gateway {

absl::StatusOr<v1::ListServersResponse> ListServers(client::Client& client) {
  client::MetadataClient& metadata = client.metadata();
  ASSIGN_OR_RETURN(const std::vector<GroupId> groups, metadata.routing().Groups());
  return metadata.ListServers(groups.front(), client::CallControl());
}

absl::Duration MovesTimeout(size_t moves) {
  return absl::Minutes(1) + absl::Seconds(20) * static_cast<int64_t>(moves);
}

}  // namespace ballast::gateway
