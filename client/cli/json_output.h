// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "client/client.h"

namespace ballast::client {

// What `ballast --json` prints: each function returns one JSON value on one line, without its
// newline. Field names carry their units and do not change between versions. The only source file
// with the JSON library.

std::string ObjectJson(const v1::ObjectInfo& object);
std::string PutJson(const std::string& key, const PutResult& result, absl::Duration took);
std::string CopyJson(const std::string& source, const std::string& target, const CopyResult& result,
                     absl::Duration took);
std::string ReplicasJson(const std::string& key, uint32_t wanted_replicas);
std::string GetJson(const GetResult& result, const std::string& file, absl::Duration took);
// `status` OK: removed.
std::string RemovedJson(const std::string& key, uint64_t generation, const absl::Status& status);
// `groups`: what each group's leader does by itself (GetMaintenanceResponse, in Protocol Buffers'
// JSON form, under "maintenance"); empty if none could be asked.
std::string StatusJson(const ClusterStatus& status,
                       const std::vector<MaintenanceClient::OfGroup>& groups);
std::string ServersJson(const ClusterStatus& status);
std::string ConfigurationJson(const v1::Configuration& configuration);
std::string SettingsJson(const v1::Settings& settings);
// For standard error: {"error": {"code", "reason", "text"}}.
std::string ErrorJson(const absl::Status& status);

}  // namespace ballast::client
