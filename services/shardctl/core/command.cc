// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/core/command.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/types/error.h"
#include "common/types/key.h"
#include "common/types/limits.h"
#include "services/shardctl/core/pool_table.h"

namespace ballast::shardctl {
namespace {

v1::GroupInfo ToWire(const log::Group& group) {
  v1::GroupInfo wire;
  wire.set_group_id(group.group_id());
  for (const log::Group::Master& master : group.masters()) {
    v1::MasterAddress* address = wire.add_masters();
    address->set_node_id(master.node_id());
    address->set_address(master.address());
  }
  return wire;
}

// Of Unicode's category Cc: U+0000 to U+001F and U+007F to U+009F. `text` is UTF-8.
bool HasControlCharacter(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (byte < 0x20 || byte == 0x7F || c1) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<log::Command> CommandOf(const v1::JoinRequest& request) {
  RETURN_IF_ERROR(ValidateGroup(request.group()));
  log::Command command;
  log::Command::Join* join = command.mutable_join();
  join->mutable_group()->set_group_id(request.group().group_id());
  for (const v1::MasterAddress& master : request.group().masters()) {
    log::Group::Master* added = join->mutable_group()->add_masters();
    added->set_node_id(master.node_id());
    added->set_address(master.address());
  }
  if (request.has_expected_version()) {
    join->set_expected_version(request.expected_version());
  }
  return command;
}

absl::StatusOr<log::Command> CommandOf(const v1::LeaveRequest& request) {
  log::Command command;
  command.mutable_leave()->set_group_id(request.group_id());
  if (request.has_expected_version()) {
    command.mutable_leave()->set_expected_version(request.expected_version());
  }
  return command;
}

absl::StatusOr<log::Command> CommandOf(const v1::MoveRequest& request) {
  log::Command command;
  command.mutable_move()->set_shard(request.shard());
  command.mutable_move()->set_group_id(request.group_id());
  if (request.has_expected_version()) {
    command.mutable_move()->set_expected_version(request.expected_version());
  }
  return command;
}

absl::StatusOr<log::Command> CommandOf(const v1::RegisterChunkServerRequest& request) {
  RETURN_IF_ERROR(ValidateServer(FactsOf(request)));
  log::Command command;
  command.mutable_register_server()->set_server_id(request.server_id());
  SetFacts(FactsOf(request), *command.mutable_register_server());
  return command;
}

absl::StatusOr<log::Command> CommandOf(const v1::SetServerStateRequest& request) {
  if (!IsUuid(request.server_id())) {
    return InvalidArgument("server_id is a UUID");
  }
  RETURN_IF_ERROR(ValidateServerState(static_cast<uint32_t>(request.state())));
  log::Command command;
  command.mutable_set_state()->set_server_id(request.server_id());
  command.mutable_set_state()->set_state(static_cast<uint32_t>(request.state()));
  return command;
}

absl::StatusOr<log::Command> CommandOf(const v1::UpdateSettingsRequest& request) {
  log::Command command;
  log::Command::UpdateSettings* update = command.mutable_update_settings();
  if (request.has_default_replicas()) update->set_default_replicas(request.default_replicas());
  if (request.has_min_replicas()) update->set_min_replicas(request.min_replicas());
  if (request.has_inline_bytes()) update->set_inline_bytes(request.inline_bytes());
  if (request.has_heartbeat_interval_ms()) {
    update->set_heartbeat_interval_ms(request.heartbeat_interval_ms());
  }
  if (request.has_draft_expiry_ms()) update->set_draft_expiry_ms(request.draft_expiry_ms());
  if (request.has_grace_ms()) update->set_grace_ms(request.grace_ms());
  if (request.has_session_idle_ms()) update->set_session_idle_ms(request.session_idle_ms());
  if (request.has_repair_server_mbps())
    update->set_repair_server_mbps(request.repair_server_mbps());
  if (request.has_repair_total_mbps()) update->set_repair_total_mbps(request.repair_total_mbps());
  if (request.has_rebalance_server_mbps())
    update->set_rebalance_server_mbps(request.rebalance_server_mbps());
  if (request.has_rebalance_total_mbps())
    update->set_rebalance_total_mbps(request.rebalance_total_mbps());
  if (request.has_rebalance_auto()) update->set_rebalance_auto(request.rebalance_auto());
  if (request.has_scrub_days()) update->set_scrub_days(request.scrub_days());
  return command;
}

absl::StatusOr<log::Command> CommandOf(const v1::CreatePoolRequest& request) {
  const uint32_t points =
      request.points_per_weight() == 0 ? PoolTable::kPointsPerWeight : request.points_per_weight();
  RETURN_IF_ERROR(ValidatePoolName(request.name()));
  RETURN_IF_ERROR(ValidatePointsPerWeight(points));
  log::Command command;
  command.mutable_create_pool()->set_name(request.name());
  command.mutable_create_pool()->set_points_per_weight(points);
  return command;
}

absl::StatusOr<log::Command> CommandOf(const v1::DeletePoolRequest& request) {
  RETURN_IF_ERROR(ValidatePoolName(request.name()));
  log::Command command;
  command.mutable_delete_pool()->set_name(request.name());
  return command;
}

absl::StatusOr<log::Command> CommandOf(const v1::PutPoolServerRequest& request) {
  RETURN_IF_ERROR(ValidatePoolName(request.pool()));
  RETURN_IF_ERROR(ValidatePoolServerId(request.id()));
  log::Command command;
  log::Command::PutPoolServer& put = *command.mutable_put_pool_server();
  put.set_pool(request.pool());
  put.set_id(request.id());
  if (request.has_weight()) {
    RETURN_IF_ERROR(ValidateWeight(request.weight()));
    put.set_weight(request.weight());
  }
  if (request.has_draining()) put.set_draining(request.draining());
  return command;
}

absl::StatusOr<log::Command> CommandOf(const v1::RemovePoolServerRequest& request) {
  RETURN_IF_ERROR(ValidatePoolName(request.pool()));
  RETURN_IF_ERROR(ValidatePoolServerId(request.id()));
  log::Command command;
  command.mutable_remove_pool_server()->set_pool(request.pool());
  command.mutable_remove_pool_server()->set_id(request.id());
  return command;
}

absl::Status StatusOf(const log::Result& result) {
  if (result.code() == 0) {
    return absl::OkStatus();
  }
  return MakeError(static_cast<v1::Reason>(result.reason()), result.text());
}

log::Result FailureOf(const absl::Status& status) {
  log::Result result;
  result.set_code(static_cast<uint32_t>(status.code()));
  result.set_reason(static_cast<uint32_t>(ReasonOf(status)));
  result.set_text(std::string(status.message()));
  return result;
}

log::Configuration ToLog(const ShardConfig& config) {
  log::Configuration out;
  out.set_version(config.version.value());
  for (const GroupId owner : config.owners) {
    out.add_shard_owner(owner.value());
  }
  for (const GroupMembers& group : config.groups) {
    log::Group* added = out.add_groups();
    added->set_group_id(group.group.value());
    for (const MasterEndpoint& master : group.masters) {
      log::Group::Master* m = added->add_masters();
      m->set_node_id(master.node.value());
      m->set_address(master.address);
    }
  }
  return out;
}

absl::StatusOr<ShardConfig> FromLog(const log::Configuration& config) {
  v1::Configuration wire;
  wire.set_version(config.version());
  *wire.mutable_shard_owner() = config.shard_owner();
  for (const log::Group& group : config.groups()) {
    *wire.add_groups() = ToWire(group);
  }
  auto parsed = ShardConfig::FromProto(wire);
  if (!parsed.ok()) {
    return absl::DataLossError(parsed.status().message());
  }
  return parsed;
}

GroupMembers MembersOf(const log::Group& group) {
  GroupMembers members{.group = GroupId(group.group_id()), .masters = {}};
  for (const log::Group::Master& master : group.masters()) {
    members.masters.push_back({NodeId(master.node_id()), master.address()});
  }
  std::sort(members.masters.begin(), members.masters.end(),
            [](const MasterEndpoint& a, const MasterEndpoint& b) { return a.node < b.node; });
  return members;
}

absl::Status ValidateLogGroup(const log::Group& group) { return ValidateGroup(ToWire(group)); }

v1::RegisteredServer ToWire(const log::Server& server) {
  v1::RegisteredServer wire;
  wire.set_server_id(server.server_id());
  wire.set_server_index(server.server_index());
  wire.set_state(static_cast<v1::ServerState>(server.state()));
  SetFacts(FactsOf(server), wire);
  return wire;
}

v1::Settings ToWire(const log::Settings& settings) {
  v1::Settings wire;
  wire.set_default_replicas(settings.default_replicas());
  wire.set_min_replicas(settings.min_replicas());
  wire.set_inline_bytes(settings.inline_bytes());
  wire.set_heartbeat_interval_ms(settings.heartbeat_interval_ms());
  wire.set_draft_expiry_ms(settings.draft_expiry_ms());
  wire.set_grace_ms(settings.grace_ms());
  wire.set_session_idle_ms(settings.session_idle_ms());
  wire.set_repair_server_mbps(settings.repair_server_mbps());
  wire.set_repair_total_mbps(settings.repair_total_mbps());
  wire.set_rebalance_server_mbps(settings.rebalance_server_mbps());
  wire.set_rebalance_total_mbps(settings.rebalance_total_mbps());
  // 0: of a cluster older than the setting.
  wire.set_rebalance_auto(settings.rebalance_auto() == 0 ? 1 : settings.rebalance_auto());
  wire.set_scrub_days(settings.scrub_days() == 0 ? kScrubDaysDefault : settings.scrub_days());
  return wire;
}

absl::Status ValidateServer(const ServerFacts& facts) {
  if (!IsUuid(facts.server_id)) {
    return InvalidArgument("server_id is a UUID");
  }
  RETURN_IF_ERROR(ValidateAddress(facts.address));
  const bool zone_ok = std::all_of(facts.zone.begin(), facts.zone.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
  if (facts.zone.size() > kZoneBytesMax || !zone_ok) {
    return InvalidArgument(
        absl::StrCat("a zone is at most ", kZoneBytesMax, " characters of [A-Za-z0-9._-]"));
  }
  if (facts.boot_epoch == 0) {
    return InvalidArgument("boot_epoch is 1 or more");
  }
  if (facts.name.size() > kServerNameBytesMax) {
    return InvalidArgument(
        absl::StrCat("a server's name has at most ", kServerNameBytesMax, " bytes"));
  }
  if (!IsValidUtf8(facts.name) || HasControlCharacter(facts.name)) {
    return InvalidArgument("a server's name is UTF-8 without control characters");
  }
  return absl::OkStatus();
}

absl::Status ValidateServerState(uint32_t state) {
  if (state != v1::SERVER_STATE_ACTIVE && state != v1::SERVER_STATE_DRAINING &&
      state != v1::SERVER_STATE_REMOVED) {
    return InvalidArgument("a server's state is ACTIVE, DRAINING or REMOVED");
  }
  return absl::OkStatus();
}

}  // namespace ballast::shardctl
