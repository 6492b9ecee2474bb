// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/types/shard_config.h"
#include "protos/errors.pb.h"
#include "protos/pool_service.pb.h"
#include "protos/shardctl_log.pb.h"
#include "protos/shardctl_service.pb.h"

// Between the wire and the log: what a caller asked becomes a command, what a command did becomes
// a status. Pure. The wire and the durable messages are kept apart here and nowhere else.

namespace ballast::shardctl {

namespace log = v1::shardctl_log;

// Each checks what can be known without the state (INVALID_ARGUMENT, naming the field) and returns
// the command to propose.
absl::StatusOr<log::Command> CommandOf(const v1::JoinRequest& request);
absl::StatusOr<log::Command> CommandOf(const v1::LeaveRequest& request);
absl::StatusOr<log::Command> CommandOf(const v1::MoveRequest& request);
absl::StatusOr<log::Command> CommandOf(const v1::RegisterChunkServerRequest& request);
absl::StatusOr<log::Command> CommandOf(const v1::SetServerStateRequest& request);
absl::StatusOr<log::Command> CommandOf(const v1::UpdateSettingsRequest& request);
absl::StatusOr<log::Command> CommandOf(const v1::CreatePoolRequest& request);
absl::StatusOr<log::Command> CommandOf(const v1::DeletePoolRequest& request);
absl::StatusOr<log::Command> CommandOf(const v1::PutPoolServerRequest& request);
absl::StatusOr<log::Command> CommandOf(const v1::RemovePoolServerRequest& request);

// What a command's result means to its caller. OK if it took effect or changed nothing.
absl::Status StatusOf(const log::Result& result);

// A failed result with the reason's own code.
log::Result FailureOf(const absl::Status& status);

// --- values in their durable and wire forms ------------------------------------------------------
log::Configuration ToLog(const ShardConfig& config);
// DATA_LOSS if it breaks an invariant of ShardConfig.
absl::StatusOr<ShardConfig> FromLog(const log::Configuration& config);
// The group as the machine keeps it: masters by node id. Requires: ValidateGroup said OK.
GroupMembers MembersOf(const log::Group& group);
absl::Status ValidateLogGroup(const log::Group& group);
v1::RegisteredServer ToWire(const log::Server& server);
v1::Settings ToWire(const log::Settings& settings);

// What a chunk server says of itself.
struct ServerFacts {
  absl::string_view server_id;
  absl::string_view address;
  absl::string_view zone;
  uint64_t boot_epoch = 0;
  absl::string_view name;
  bool no_placement = false;
};
// Of any message that has them: a request, a command, an entry of the registry. Views into it.
template <typename Message>
ServerFacts FactsOf(const Message& message) {
  return {.server_id = message.server_id(),
          .address = message.address(),
          .zone = message.zone(),
          .boot_epoch = message.boot_epoch(),
          .name = message.name(),
          .no_placement = message.no_placement()};
}
// All but the identity: server_id stays.
template <typename Message>
void SetFacts(const ServerFacts& facts, Message& message) {
  message.set_address(std::string(facts.address));
  message.set_zone(std::string(facts.zone));
  message.set_boot_epoch(facts.boot_epoch);
  message.set_name(std::string(facts.name));
  message.set_no_placement(facts.no_placement);
}

// OK for a UUID, a host:port, a zone of at most 64 characters of [A-Za-z0-9._-], an epoch > 0, a
// name of at most 256 bytes of UTF-8 without control characters (those of Unicode's category Cc).
absl::Status ValidateServer(const ServerFacts& facts);

// OK for ACTIVE, DRAINING and REMOVED.
absl::Status ValidateServerState(uint32_t state);

}  // namespace ballast::shardctl
