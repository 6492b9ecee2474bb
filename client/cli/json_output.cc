// SPDX-License-Identifier: Apache-2.0
#include "client/cli/json_output.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "client/cli/maintenance_text.h"
#include "client/cli/text_output.h"
#include "common/types/error.h"

namespace ballast::client {
namespace {

// Fields in the order in which they are written.
using Json = nlohmann::ordered_json;

// Server texts are hostile: whatever is no UTF-8 is replaced rather than thrown about.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string Hex(uint32_t crc) { return absl::StrFormat("%08x", crc); }

Json Error(const absl::Status& status) {
  return {{"code", absl::StatusCodeToString(status.code())},
          {"reason", ReasonName(ReasonOf(status))},
          {"text", std::string(status.message())}};
}

Json Object(const v1::ObjectInfo& object) {
  Json metadata = Json::object();
  for (const v1::UserMetadata& entry : object.metadata()) {
    metadata[entry.name()] = entry.value();
  }
  return {{"key", object.key()},
          {"generation", object.generation()},
          {"size_bytes", object.size_bytes()},
          {"crc32c", Hex(object.crc32c())},
          {"inline", object.is_inline()},
          {"chunk_count", object.chunk_count()},
          {"wanted_replicas", object.wanted_replicas()},
          {"modified_unix_ms", object.modified_unix_ms()},
          {"metadata", metadata}};
}

Json Server(const ServerView& view) {
  const v1::RegisteredServer& registered = *view.registered;
  Json json = {{"server_id", registered.server_id()},
               {"server_index", registered.server_index()},
               {"address", registered.address()},
               {"zone", registered.zone()},
               {"state", StateName(registered.state())},
               {"boot_epoch", registered.boot_epoch()},
               {"name", registered.name()},
               {"no_placement", registered.no_placement()}};
  if (view.status == nullptr) {
    json["liveness"] = LivenessName(v1::LIVENESS_UNKNOWN);
    return json;
  }
  const v1::ServerStatus& status = *view.status;
  json["liveness"] = LivenessName(status.liveness());
  json["capacity_bytes"] = status.capacity_bytes();
  json["used_bytes"] = status.used_bytes();
  json["utilization_pct"] = status.utilization_pct();
  json["chunk_count"] = status.chunk_count();
  json["last_heartbeat_ms_ago"] = status.last_heartbeat_ms_ago();
  json["health"] = status.health();
  json["loading"] = status.loading();
  json["quarantined_count"] = status.quarantined_count();
  return json;
}

Json Member(const MemberStatus& member) {
  Json json = {{"group_id", member.group}, {"address", member.address}};
  if (!member.status.ok()) {
    json["error"] = Error(member.status.status());
    return json;
  }
  const v1::GetGroupStatusResponse& status = *member.status;
  json["node_id"] = status.node_id();
  json["is_leader"] = status.is_leader();
  json["leader_address"] = status.leader_address();
  json["term"] = status.term();
  json["committed_index"] = status.committed_index();
  json["applied_index"] = status.applied_index();
  json["config_version"] = status.config_version();
  json["shard_count"] = status.shard_count();
  json["object_count"] = status.object_count();
  json["chunk_count"] = status.chunk_count();
  json["draft_count"] = status.draft_count();
  json["doomed_count"] = status.doomed_count();
  json["session_count"] = status.session_count();
  json["resident_bytes"] = status.resident_bytes();
  json["wal_syncs"] = status.wal_syncs();
  json["chunks_without_live_replica"] = status.chunks_without_live_replica();
  json["chunks_below_wanted"] = status.chunks_below_wanted();
  return json;
}

Json Settings(const v1::Settings& settings) {
  return {{"default_replicas", settings.default_replicas()},
          {"min_replicas", settings.min_replicas()},
          {"inline_bytes", settings.inline_bytes()},
          {"heartbeat_interval_ms", settings.heartbeat_interval_ms()},
          {"draft_expiry_ms", settings.draft_expiry_ms()},
          {"grace_ms", settings.grace_ms()},
          {"session_idle_ms", settings.session_idle_ms()},
          {"repair_server_mbps", settings.repair_server_mbps()},
          {"repair_total_mbps", settings.repair_total_mbps()},
          {"rebalance_server_mbps", settings.rebalance_server_mbps()},
          {"rebalance_total_mbps", settings.rebalance_total_mbps()},
          {"rebalance_auto", settings.rebalance_auto() != 2},
          {"scrub_days", settings.scrub_days()}};
}

Json Stored(const std::string& key, const PutResult& result, absl::Duration took) {
  return {{"key", key},
          {"generation", result.generation},
          {"size_bytes", result.size_bytes},
          {"crc32c", Hex(result.crc32c.value)},
          {"chunk_count", result.chunk_count},
          {"wanted_replicas", result.wanted_replicas},
          {"least_replicas", result.least_replicas},
          {"seconds", absl::ToDoubleSeconds(took)}};
}

}  // namespace

std::string ObjectJson(const v1::ObjectInfo& object) { return Dump(Object(object)); }

std::string PutJson(const std::string& key, const PutResult& result, absl::Duration took) {
  return Dump(Stored(key, result, took));
}

std::string CopyJson(const std::string& source, const std::string& target, const CopyResult& result,
                     absl::Duration took) {
  Json json = Stored(target, result.put, took);
  json["source"] = source;
  json["source_generation"] = result.source_generation;
  return Dump(json);
}

std::string ReplicasJson(const std::string& key, uint32_t wanted_replicas) {
  return Dump({{"key", key}, {"wanted_replicas", wanted_replicas}});
}

std::string GetJson(const GetResult& result, const std::string& file, absl::Duration took) {
  return Dump({{"key", result.object.key()},
               {"generation", result.object.generation()},
               {"size_bytes", result.object.size_bytes()},
               {"delivered_bytes", result.delivered_bytes},
               {"file", file},
               {"seconds", absl::ToDoubleSeconds(took)}});
}

std::string RemovedJson(const std::string& key, uint64_t generation, const absl::Status& status) {
  if (!status.ok()) {
    return Dump({{"key", key}, {"removed", false}, {"error", Error(status)}});
  }
  return Dump({{"key", key}, {"removed", true}, {"generation", generation}});
}

std::string StatusJson(const ClusterStatus& status,
                       const std::vector<MaintenanceClient::OfGroup>& groups) {
  Json maintenance = Json::array();
  for (const MaintenanceClient::OfGroup& group : groups) {
    Json of_group = {{"group", group.group}};
    const Json state =
        Json::parse(MessageJson(group.maintenance), nullptr, /*allow_exceptions=*/false);
    if (state.is_object()) {
      of_group.update(state);
    }
    maintenance.push_back(std::move(of_group));
  }
  Json members = Json::array();
  for (const MemberStatus& member : status.members) {
    members.push_back(Member(member));
  }
  Json servers = Json::array();
  for (const ServerView& view : JoinServers(status)) {
    servers.push_back(Server(view));
  }
  Json json = {{"cluster_id", status.cluster_id},
               {"shard_count", status.shard_count},
               {"config_version", status.config_version},
               {"members", members},
               {"servers", servers},
               {"maintenance", maintenance},
               {"settings", Settings(status.registry.settings())}};
  if (!status.servers.ok()) {
    json["servers_error"] = Error(status.servers.status());
  }
  return Dump(json);
}

std::string ServersJson(const ClusterStatus& status) {
  Json servers = Json::array();
  for (const ServerView& view : JoinServers(status)) {
    servers.push_back(Server(view));
  }
  return Dump(servers);
}

std::string ConfigurationJson(const v1::Configuration& configuration) {
  Json groups = Json::array();
  for (const v1::GroupInfo& group : configuration.groups()) {
    Json masters = Json::array();
    for (const v1::MasterAddress& master : group.masters()) {
      masters.push_back({{"node_id", master.node_id()}, {"address", master.address()}});
    }
    uint64_t shards = 0;
    for (const uint32_t owner : configuration.shard_owner()) {
      shards += owner == group.group_id() ? 1 : 0;
    }
    groups.push_back(
        {{"group_id", group.group_id()}, {"shard_count", shards}, {"masters", masters}});
  }
  return Dump({{"config_version", configuration.version()}, {"groups", groups}});
}

std::string SettingsJson(const v1::Settings& settings) { return Dump(Settings(settings)); }

std::string ErrorJson(const absl::Status& status) { return Dump({{"error", Error(status)}}); }

}  // namespace ballast::client
