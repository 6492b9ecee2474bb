// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/core/config_machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/limits.h"
#include "services/shardctl/core/assignment.h"
#include "services/shardctl/core/command.h"
#include "services/shardctl/core/settings.h"

namespace ballast::shardctl {
namespace {

constexpr char kImageName[] = "controller";
constexpr uint32_t kImageFormat = 1;

absl::Status Broken(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("shardctl image: ", what));
}

// A server's part of a message: its fields are those of v1::RegisteredServer.
size_t BytesOf(const log::Server& server) {
  constexpr size_t kFrameBytesMax = 4;
  return server.ByteSizeLong() + kFrameBytesMax;
}

// What of `a` and `b` a registration sets, equal?
template <typename A, typename B>
bool SameFacts(const A& a, const B& b) {
  return a.address() == b.address() && a.zone() == b.zone() && a.name() == b.name() &&
         a.no_placement() == b.no_placement();
}

// Once there is a group, nobody's shards are nobody's: this controller never takes a shard from a
// group without giving it to another.
bool EveryShardHasAnOwner(const ShardConfig& config) {
  return std::none_of(config.owners.begin(), config.owners.end(),
                      [](GroupId owner) { return owner == GroupId(0); });
}

}  // namespace

ConfigMachine::ConfigMachine(uint32_t shard_count) : shard_count_(shard_count) {
  CHECK_GE(shard_count, 1u);
  CHECK_LE(shard_count, kShardsMax);
  Reset();
}

void ConfigMachine::Reset() {
  applied_ = RaftIndex(0);
  configs_.clear();
  registry_version_ = 1;
  servers_.clear();
  index_of_.clear();
  next_server_index_ = 1;
  servers_bytes_ = 0;
  settings_ = DefaultSettings();
  pools_.Clear();
}

std::string ConfigMachine::Apply(RaftIndex index, absl::string_view bytes) {
  if (index <= applied_) {
    return {};
  }
  Command command;
  CHECK(command.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
      << "unreadable command at index " << index;
  absl::Status status;
  switch (command.op_case()) {
    case Command::kJoin:
      status = ApplyJoin(command.join());
      break;
    case Command::kLeave:
      status = ApplyLeave(command.leave());
      break;
    case Command::kMove:
      status = ApplyMove(command.move());
      break;
    case Command::kRegisterServer:
      status = ApplyRegister(command.register_server());
      break;
    case Command::kSetState:
      status = ApplySetState(command.set_state());
      break;
    case Command::kUpdateSettings:
      status = ApplyUpdateSettings(command.update_settings());
      break;
    case Command::kCreatePool:
      status = pools_.Apply(command.create_pool());
      break;
    case Command::kDeletePool:
      status = pools_.Apply(command.delete_pool());
      break;
    case Command::kPutPoolServer:
      status = pools_.Apply(command.put_pool_server());
      break;
    case Command::kRemovePoolServer:
      status = pools_.Apply(command.remove_pool_server());
      break;
    case Command::OP_NOT_SET:
      CHECK(false) << "a command at index " << index << " that this version does not know";
  }
  applied_ = index;

  log::Result result = status.ok() ? log::Result() : FailureOf(status);
  if (status.ok() && command.op_case() == Command::kRegisterServer) {
    result.set_server_index(index_of_.at(command.register_server().server_id()));
  }
  result.set_config_version(current_version().value());
  result.set_registry_version(registry_version_);
  return result.SerializeAsString();
}

// --- configurations ------------------------------------------------------------------------------

const ShardConfig* ConfigMachine::FindConfig(ConfigVersion version) const {
  return version.value() >= 1 && version <= current_version() ? &configs_[version.value() - 1]
                                                              : nullptr;
}

const GroupMembers* ConfigMachine::FindMember(uint32_t group_id) const {
  return configs_.empty() ? nullptr : configs_.back().FindGroup(GroupId(group_id));
}

absl::Status ConfigMachine::CheckExpected(bool has_expected, uint64_t expected) const {
  if (has_expected && expected != configs_.size()) {
    return MakeError(
        v1::REASON_VERSION_MISMATCH,
        absl::StrCat("the current configuration is number ", configs_.size(), ", not ", expected));
  }
  return absl::OkStatus();
}

absl::Status ConfigMachine::ApplyJoin(const Command::Join& join) {
  RETURN_IF_ERROR(ValidateLogGroup(join.group()));
  const GroupMembers group = MembersOf(join.group());
  const GroupMembers* member = FindMember(join.group().group_id());
  if (member != nullptr && *member == group) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckExpected(join.has_expected_version(), join.expected_version()));
  ShardConfig next;
  if (configs_.empty()) {
    next.owners = PlanJoin(std::vector<GroupId>(shard_count_), {}, group.group).owners;
    next.groups = {group};
  } else if (member != nullptr) {
    next = configs_.back();
    *std::find(next.groups.begin(), next.groups.end(), *member) = group;
  } else {
    return MakeError(v1::REASON_NOT_SUPPORTED_YET,
                     absl::StrCat("group ", group.group.value(),
                                  " cannot join: shards cannot move between groups yet"));
  }
  CHECK(EveryShardHasAnOwner(next)) << "configuration " << current_version().Next();
  next.version = current_version().Next();
  configs_.push_back(std::move(next));
  return absl::OkStatus();
}

absl::Status ConfigMachine::ApplyLeave(const Command::Leave& leave) const {
  if (FindMember(leave.group_id()) == nullptr) {
    return MakeError(v1::REASON_UNKNOWN_GROUP,
                     absl::StrCat("group ", leave.group_id(), " is no member"));
  }
  RETURN_IF_ERROR(CheckExpected(leave.has_expected_version(), leave.expected_version()));
  if (configs_.back().groups.size() == 1) {
    return MakeError(v1::REASON_NOT_SUPPORTED_YET, "the last group cannot leave");
  }
  return MakeError(v1::REASON_NOT_SUPPORTED_YET, "shards cannot move between groups yet");
}

absl::Status ConfigMachine::ApplyMove(const Command::Move& move) const {
  if (move.shard() >= shard_count_) {
    return InvalidArgument(
        absl::StrCat("shard is 0 to ", shard_count_ - 1, ", not ", move.shard()));
  }
  if (FindMember(move.group_id()) == nullptr) {
    return MakeError(v1::REASON_UNKNOWN_GROUP,
                     absl::StrCat("group ", move.group_id(), " is no member"));
  }
  if (configs_.back().owners[move.shard()] == GroupId(move.group_id())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckExpected(move.has_expected_version(), move.expected_version()));
  return MakeError(v1::REASON_NOT_SUPPORTED_YET, "shards cannot move between groups yet");
}

// --- registry ------------------------------------------------------------------------------------

const log::Server* ConfigMachine::FindServer(absl::string_view server_id) const {
  const auto it = index_of_.find(server_id);
  return it == index_of_.end() ? nullptr : &servers_.at(it->second);
}

absl::Status ConfigMachine::ApplyRegister(const Command::Register& reg) {
  RETURN_IF_ERROR(ValidateServer(FactsOf(reg)));
  const auto known = index_of_.find(reg.server_id());
  if (known == index_of_.end()) {
    if (next_server_index_ > kServerIndexMax) {
      return MakeError(v1::REASON_REGISTRY_FULL,
                       absl::StrCat("the cluster has registered ", kServerIndexMax,
                                    " chunk servers; their numbers are never used again"));
    }
    log::Server server;
    server.set_server_id(reg.server_id());
    server.set_server_index(next_server_index_);
    server.set_state(v1::SERVER_STATE_ACTIVE);
    SetFacts(FactsOf(reg), server);
    RETURN_IF_ERROR(PutServer(std::move(server)));
    index_of_[reg.server_id()] = next_server_index_++;
    return absl::OkStatus();
  }
  log::Server server = servers_.at(known->second);
  if (server.state() == v1::SERVER_STATE_REMOVED) {
    return MakeError(v1::REASON_UNKNOWN_SERVER,
                     absl::StrCat("server ", reg.server_id(),
                                  " was removed; an operator can set it active again"));
  }
  if (reg.boot_epoch() < server.boot_epoch()) {
    return MakeError(v1::REASON_STALE_BOOT,
                     absl::StrCat("server ", reg.server_id(), " has registered boot ",
                                  server.boot_epoch(), "; this is boot ", reg.boot_epoch()));
  }
  if (reg.boot_epoch() == server.boot_epoch()) {
    if (SameFacts(reg, server)) {
      return absl::OkStatus();
    }
    return MakeError(v1::REASON_DUPLICATE_SERVER,
                     absl::StrCat("server ", reg.server_id(), " is already running at ",
                                  server.address(), "; is this a copy of its folder?"));
  }
  SetFacts(FactsOf(reg), server);
  return PutServer(std::move(server));
}

absl::Status ConfigMachine::PutServer(log::Server server) {
  const auto old = servers_.find(server.server_index());
  const size_t bytes =
      servers_bytes_ + BytesOf(server) - (old == servers_.end() ? 0 : BytesOf(old->second));
  if (bytes > kRegistryBytesMax) {
    return MakeError(v1::REASON_REGISTRY_FULL,
                     absl::StrCat("the registry is full: ", servers_.size(), " chunk servers"));
  }
  servers_bytes_ = bytes;
  servers_[server.server_index()] = std::move(server);
  ++registry_version_;
  return absl::OkStatus();
}

absl::Status ConfigMachine::ApplySetState(const Command::SetState& set) {
  RETURN_IF_ERROR(ValidateServerState(set.state()));
  const auto known = index_of_.find(set.server_id());
  if (known == index_of_.end()) {
    return MakeError(v1::REASON_UNKNOWN_SERVER,
                     absl::StrCat("no server ", set.server_id(), " is registered"));
  }
  log::Server& server = servers_.at(known->second);
  if (server.state() != set.state()) {
    server.set_state(set.state());
    // Whoever spoke for it until now is a process of the past, even if an operator takes the server
    // back: it may still have commands before it that its masters have forgotten.
    if (set.state() == v1::SERVER_STATE_REMOVED) {
      server.set_boot_epoch(server.boot_epoch() + 1);
    }
    ++registry_version_;
  }
  return absl::OkStatus();
}

absl::Status ConfigMachine::ApplyUpdateSettings(const Command::UpdateSettings& update) {
  log::Settings merged = MergeSettings(settings_, update);
  RETURN_IF_ERROR(ValidateSettings(merged));
  if (merged.SerializeAsString() != settings_.SerializeAsString()) {
    settings_ = std::move(merged);
    ++registry_version_;
  }
  return absl::OkStatus();
}

v1::Registry ConfigMachine::RegistryProto() const {
  v1::Registry registry;
  registry.set_version(registry_version_);
  for (const auto& [index, server] : servers_) {
    *registry.add_servers() = ToWire(server);
  }
  *registry.mutable_settings() = ToWire(settings_);
  return registry;
}

// --- images --------------------------------------------------------------------------------------

std::vector<std::string> ConfigMachine::ImageNames() const { return {kImageName}; }

std::string ConfigMachine::TakeImage(const std::string& name) const {
  CHECK_EQ(name, kImageName);
  log::Image image;
  image.set_format(kImageFormat);
  image.set_applied_index(applied_.value());
  image.set_shard_count(shard_count_);
  for (const ShardConfig& config : configs_) {
    *image.add_configurations() = ToLog(config);
  }
  image.set_registry_version(registry_version_);
  for (const auto& [index, server] : servers_) {
    *image.add_servers() = server;
  }
  image.set_next_server_index(next_server_index_);
  *image.mutable_settings() = settings_;
  pools_.Save(&image);
  return image.SerializeAsString();
}

absl::Status ConfigMachine::RestoreImage(const std::string& name, absl::string_view bytes) {
  log::Image image;
  if (name != kImageName) {
    return Broken(absl::StrCat("no image is called '", name, "'"));
  }
  if (!image.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Broken("unreadable");
  }
  if (image.format() != kImageFormat) {
    return Broken(absl::StrCat("format ", image.format(), " is not known"));
  }
  if (image.shard_count() != shard_count_) {
    return Broken(absl::StrCat("made for ", image.shard_count(), " shards, not ", shard_count_));
  }
  std::vector<ShardConfig> configs;
  for (const log::Configuration& configuration : image.configurations()) {
    ASSIGN_OR_RETURN(ShardConfig config, FromLog(configuration));
    if (config.version.value() != configs.size() + 1 || config.owners.size() != shard_count_ ||
        config.groups.empty() || !EveryShardHasAnOwner(config)) {
      return Broken(absl::StrCat("configuration ", configs.size() + 1, " is wrong"));
    }
    configs.push_back(std::move(config));
  }
  absl::btree_map<uint32_t, log::Server> servers;
  absl::btree_map<std::string, uint32_t> index_of;
  uint32_t previous = 0;
  size_t servers_bytes = 0;
  for (const log::Server& server : image.servers()) {
    const absl::Status valid = ValidateServer(FactsOf(server));
    if (!valid.ok() || !ValidateServerState(server.state()).ok() ||
        server.server_index() <= previous || server.server_index() >= image.next_server_index() ||
        !index_of.emplace(server.server_id(), server.server_index()).second) {
      return Broken(absl::StrCat("server ", server.server_index(), " is wrong"));
    }
    previous = server.server_index();
    servers_bytes += BytesOf(server);
    servers.emplace(server.server_index(), server);
  }
  if (image.next_server_index() < 1 || image.next_server_index() > kServerIndexMax + 1 ||
      image.registry_version() < 1) {
    return Broken("the registry's numbers are wrong");
  }
  if (!ValidateSettings(image.settings()).ok()) {
    return Broken("settings out of range");
  }
  PoolTable pools;
  RETURN_IF_ERROR(pools.Restore(image));
  applied_ = RaftIndex(image.applied_index());
  pools_ = std::move(pools);
  configs_ = std::move(configs);
  registry_version_ = image.registry_version();
  servers_ = std::move(servers);
  index_of_ = std::move(index_of);
  next_server_index_ = image.next_server_index();
  servers_bytes_ = servers_bytes;
  settings_ = image.settings();
  return absl::OkStatus();
}

}  // namespace ballast::shardctl
