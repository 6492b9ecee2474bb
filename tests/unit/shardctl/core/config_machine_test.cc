// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/core/config_machine.h"

#include <google/protobuf/stubs/logging.h>

#include <functional>
#include <string>

#include "absl/strings/str_format.h"
#include "common/base/rng.h"
#include "common/types/limits.h"
#include "gtest/gtest.h"
#include "services/shardctl/core/command.h"
#include "tests/support/status_matchers.h"

namespace ballast::shardctl {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOk;
using ::ballast::testing::StatusIs;

std::string Uuid(uint32_t n) { return absl::StrFormat("00000000-0000-4000-8000-%012x", n); }

v1::GroupInfo Group(uint32_t id, const std::string& address) {
  v1::GroupInfo group;
  group.set_group_id(id);
  group.add_masters()->set_node_id(1);
  group.mutable_masters(0)->set_address(address);
  return group;
}

v1::JoinRequest Join(uint32_t id, const std::string& address = "127.0.0.1:7500") {
  v1::JoinRequest request;
  *request.mutable_group() = Group(id, address);
  return request;
}

v1::RegisterChunkServerRequest Register(uint32_t server, uint64_t boot,
                                        const std::string& address = "127.0.0.1:7600",
                                        const std::string& zone = "") {
  v1::RegisterChunkServerRequest request;
  request.set_server_id(Uuid(server));
  request.set_address(address);
  request.set_zone(zone);
  request.set_boot_epoch(boot);
  return request;
}

class ConfigMachineTest : public ::testing::Test {
 protected:
  // Validates, applies at the next index and keeps the result.
  template <typename Request>
  absl::Status Do(const Request& request) {
    const auto command = CommandOf(request);
    if (!command.ok()) {
      return command.status();
    }
    return Apply(*command);
  }

  absl::Status Apply(const log::Command& command) {
    last_ = log::Result();
    EXPECT_TRUE(
        last_.ParseFromString(machine_.Apply(RaftIndex(++index_), command.SerializeAsString())));
    EXPECT_EQ(last_.config_version(), machine_.current_version().value());
    EXPECT_EQ(last_.registry_version(), machine_.registry_version());
    return StatusOf(last_);
  }

  absl::Status SetState(uint32_t server, v1::ServerState state) {
    v1::SetServerStateRequest request;
    request.set_server_id(Uuid(server));
    request.set_state(state);
    return Do(request);
  }

  ConfigMachine machine_{16};
  log::Result last_;
  uint64_t index_ = 0;
};

// --- configurations ------------------------------------------------------------------------------

TEST_F(ConfigMachineTest, TheFirstJoinGivesTheGroupEveryShard) {
  EXPECT_EQ(machine_.current_version(), ConfigVersion(0));
  EXPECT_EQ(machine_.FindConfig(ConfigVersion(0)), nullptr);
  ASSERT_THAT(Do(Join(3)), IsOk());
  ASSERT_EQ(machine_.current_version(), ConfigVersion(1));
  const ShardConfig* config = machine_.FindConfig(ConfigVersion(1));
  ASSERT_NE(config, nullptr);
  EXPECT_EQ(config->owners, std::vector<GroupId>(16, GroupId(3)));
  EXPECT_EQ(machine_.FindConfig(ConfigVersion(2)), nullptr);
}

TEST_F(ConfigMachineTest, ARepeatedJoinSucceedsWithoutANewConfiguration) {
  v1::JoinRequest request = Join(1);
  request.set_expected_version(0);
  ASSERT_THAT(Do(request), IsOk());
  EXPECT_THAT(Do(request), IsOk()) << "a retry expects what was current before its first try";
  EXPECT_EQ(machine_.current_version(), ConfigVersion(1));
}

TEST_F(ConfigMachineTest, AnotherGroupCannotJoinYet) {
  ASSERT_THAT(Do(Join(1)), IsOk());
  EXPECT_THAT(Do(Join(2, "127.0.0.1:7501")), HasReason(v1::REASON_NOT_SUPPORTED_YET));
  EXPECT_THAT(Do(Join(2, "127.0.0.1:7501")), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(machine_.current_version(), ConfigVersion(1));
}

TEST_F(ConfigMachineTest, NewAddressesOfAMemberMakeAConfigurationWithTheSameOwners) {
  ASSERT_THAT(Do(Join(1)), IsOk());
  ASSERT_THAT(Do(Join(1, "10.0.0.1:7500")), IsOk());
  ASSERT_EQ(machine_.current_version(), ConfigVersion(2));
  const ShardConfig& first = *machine_.FindConfig(ConfigVersion(1));
  const ShardConfig& second = *machine_.FindConfig(ConfigVersion(2));
  EXPECT_EQ(first.owners, second.owners);
  EXPECT_EQ(first.groups[0].masters[0].address, "127.0.0.1:7500");
  EXPECT_EQ(second.groups[0].masters[0].address, "10.0.0.1:7500");
}

TEST_F(ConfigMachineTest, TheOrderInWhichMastersAreNamedIsNoChange) {
  v1::JoinRequest request = Join(1);
  for (uint32_t node : {2, 3}) {
    v1::MasterAddress* master = request.mutable_group()->add_masters();
    master->set_node_id(node);
    master->set_address(absl::StrFormat("127.0.0.1:750%d", node));
  }
  ASSERT_THAT(Do(request), IsOk());
  request.mutable_group()->mutable_masters()->SwapElements(0, 2);
  ASSERT_THAT(Do(request), IsOk());
  EXPECT_EQ(machine_.current_version(), ConfigVersion(1));
}

TEST_F(ConfigMachineTest, ExpectedVersionMustHold) {
  v1::JoinRequest request = Join(1);
  request.set_expected_version(1);
  EXPECT_THAT(Do(request), HasReason(v1::REASON_VERSION_MISMATCH));
  EXPECT_EQ(machine_.current_version(), ConfigVersion(0));
  request.set_expected_version(0);
  ASSERT_THAT(Do(request), IsOk());
  request = Join(1, "10.0.0.1:7500");
  request.set_expected_version(0);
  EXPECT_THAT(Do(request), HasReason(v1::REASON_VERSION_MISMATCH));
}

TEST_F(ConfigMachineTest, LeaveNamesAMemberAndIsNotSupportedYet) {
  v1::LeaveRequest leave;
  leave.set_group_id(1);
  EXPECT_THAT(Do(leave), HasReason(v1::REASON_UNKNOWN_GROUP));
  ASSERT_THAT(Do(Join(1)), IsOk());
  EXPECT_THAT(Do(leave), HasReason(v1::REASON_NOT_SUPPORTED_YET));
  leave.set_expected_version(7);
  EXPECT_THAT(Do(leave), HasReason(v1::REASON_VERSION_MISMATCH));
}

TEST_F(ConfigMachineTest, MoveToTheOwnerChangesNothing) {
  v1::MoveRequest move;
  move.set_group_id(1);
  EXPECT_THAT(Do(move), HasReason(v1::REASON_UNKNOWN_GROUP));
  ASSERT_THAT(Do(Join(1)), IsOk());
  EXPECT_THAT(Do(move), IsOk());
  EXPECT_EQ(machine_.current_version(), ConfigVersion(1));
  move.set_shard(16);
  EXPECT_THAT(Do(move), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ConfigMachineTest, MalformedGroupsAreRefusedBeforeTheLog) {
  EXPECT_THAT(Do(v1::JoinRequest()), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Do(Join(0)), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Do(Join(1, "nonsense")), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(index_, 0u);
}

TEST_F(ConfigMachineTest, AMalformedCommandInTheLogIsAResultAndChangesNothing) {
  log::Command command;
  command.mutable_join()->mutable_group()->set_group_id(1);  // no masters
  EXPECT_THAT(Apply(command), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(machine_.current_version(), ConfigVersion(0));
}

// --- registry ------------------------------------------------------------------------------------

TEST_F(ConfigMachineTest, AnImageWhoseShardHasNoOwnerIsRefused) {
  ASSERT_THAT(Do(Join(1)), IsOk());
  log::Image image;
  ASSERT_TRUE(image.ParseFromString(machine_.TakeImage("controller")));
  image.mutable_configurations(0)->set_shard_owner(3, 0);
  ConfigMachine other(16);
  EXPECT_THAT(other.RestoreImage("controller", image.SerializeAsString()),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(ConfigMachineTest, ServersGetDenseNumbersInTheOrderTheyRegister) {
  EXPECT_EQ(machine_.registry_version(), 1u);
  for (uint32_t n = 1; n <= 3; ++n) {
    ASSERT_THAT(Do(Register(n + 10, 1)), IsOk());
    EXPECT_EQ(last_.server_index(), n);
  }
  EXPECT_EQ(machine_.registry_version(), 4u);
  const v1::Registry registry = machine_.RegistryProto();
  ASSERT_EQ(registry.servers_size(), 3);
  EXPECT_EQ(registry.servers(0).server_id(), Uuid(11));
  EXPECT_EQ(registry.servers(2).state(), v1::SERVER_STATE_ACTIVE);
  EXPECT_EQ(registry.settings().default_replicas(), 3u);
}

TEST_F(ConfigMachineTest, ARepeatedRegistrationChangesNothing) {
  ASSERT_THAT(Do(Register(1, 5)), IsOk());
  ASSERT_THAT(Do(Register(1, 5)), IsOk());
  EXPECT_EQ(last_.server_index(), 1u);
  EXPECT_EQ(machine_.registry_version(), 2u);
}

TEST_F(ConfigMachineTest, ANewBootMayChangeAddressAndZone) {
  ASSERT_THAT(Do(Register(1, 5)), IsOk());
  ASSERT_THAT(Do(Register(1, 6, "10.0.0.9:7600", "rack-2")), IsOk());
  EXPECT_EQ(last_.server_index(), 1u);
  EXPECT_EQ(machine_.FindServer(Uuid(1))->address(), "10.0.0.9:7600");
  EXPECT_EQ(machine_.FindServer(Uuid(1))->zone(), "rack-2");
  EXPECT_EQ(machine_.FindServer(Uuid(1))->boot_epoch(), 6u);
}

v1::RegisterChunkServerRequest Named(uint64_t boot, const std::string& name,
                                     bool no_placement = false) {
  v1::RegisterChunkServerRequest request = Register(1, boot);
  request.set_name(name);
  request.set_no_placement(no_placement);
  return request;
}

TEST_F(ConfigMachineTest, NamesAndNoPlacementAreKeptAndChangeWithANewBootOnly) {
  ASSERT_THAT(Do(Named(5, "n1", true)), IsOk());
  ASSERT_THAT(Do(Named(5, "n1", true)), IsOk());
  EXPECT_EQ(machine_.registry_version(), 2u) << "said again, nothing changes";
  EXPECT_THAT(Do(Named(5, "n2", true)), HasReason(v1::REASON_DUPLICATE_SERVER));
  EXPECT_THAT(Do(Named(5, "n1", false)), HasReason(v1::REASON_DUPLICATE_SERVER));
  const v1::RegisteredServer before = machine_.RegistryProto().servers(0);
  EXPECT_EQ(before.name(), "n1");
  EXPECT_TRUE(before.no_placement());
  ASSERT_THAT(Do(Named(6, "Größe ☂", false)), IsOk());
  const v1::RegisteredServer after = machine_.RegistryProto().servers(0);
  EXPECT_EQ(after.name(), "Größe ☂");
  EXPECT_FALSE(after.no_placement());
}

TEST_F(ConfigMachineTest, NamesAreShortTextWithoutControlCharacters) {
  const struct {
    std::string name;
    bool good;
  } cases[] = {{"", true},
               {std::string(256, 'n'), true},
               {"\"quoted\" \xc2\xa0", true},  // U+00A0 is a space
               {std::string(257, 'n'), false},
               {std::string("a\0b", 3), false},
               {"two\nlines", false},
               {"\x7f", false},
               {"\xc2\x80", false},  // U+0080 and U+009F are control characters
               {"\xc2\x9f", false},
               {"\xff", false},
               {"cut \xc2", false}};
  for (const auto& one : cases) {
    const auto command = CommandOf(Named(1, one.name));
    EXPECT_EQ(command.ok(), one.good) << ::testing::PrintToString(one.name);
    if (!command.ok()) {
      EXPECT_THAT(command.status(), HasReason(v1::REASON_INVALID_ARGUMENT));
    }
  }
}

TEST_F(ConfigMachineTest, ImagesKeepNamesAndRefuseMalformedOnes) {
  ASSERT_THAT(Do(Named(1, "n1", true)), IsOk());
  const std::string bytes = machine_.TakeImage("controller");
  ConfigMachine other(16);
  ASSERT_THAT(other.RestoreImage("controller", bytes), IsOk());
  EXPECT_EQ(other.TakeImage("controller"), bytes);
  EXPECT_TRUE(other.RegistryProto().servers(0).no_placement());
  log::Image image;
  ASSERT_TRUE(image.ParseFromString(bytes));
  image.mutable_servers(0)->set_name("a\tb");
  EXPECT_THAT(other.RestoreImage("controller", image.SerializeAsString()),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(ConfigMachineTest, AnOldBootIsRefused) {
  ASSERT_THAT(Do(Register(1, 6)), IsOk());
  EXPECT_THAT(Do(Register(1, 5)), HasReason(v1::REASON_STALE_BOOT));
  EXPECT_EQ(machine_.FindServer(Uuid(1))->boot_epoch(), 6u);
}

TEST_F(ConfigMachineTest, ACopyOfARunningServersFolderIsRefused) {
  ASSERT_THAT(Do(Register(1, 6, "127.0.0.1:7600")), IsOk());
  EXPECT_THAT(Do(Register(1, 6, "127.0.0.1:7601")), HasReason(v1::REASON_DUPLICATE_SERVER));
  EXPECT_EQ(machine_.FindServer(Uuid(1))->address(), "127.0.0.1:7600");
}

TEST_F(ConfigMachineTest, ARestartDoesNotUndoARemoval) {
  ASSERT_THAT(Do(Register(1, 1)), IsOk());
  ASSERT_THAT(SetState(1, v1::SERVER_STATE_REMOVED), IsOk());
  EXPECT_THAT(Do(Register(1, 1)), HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(Do(Register(1, 2)), HasReason(v1::REASON_UNKNOWN_SERVER));
  ASSERT_THAT(SetState(1, v1::SERVER_STATE_ACTIVE), IsOk());
  ASSERT_THAT(Do(Register(1, 2)), IsOk());
  EXPECT_EQ(last_.server_index(), 1u);
  ASSERT_THAT(Do(Register(2, 1)), IsOk());
  EXPECT_EQ(last_.server_index(), 2u);
}

TEST_F(ConfigMachineTest, TheProcessOfARemovedServerIsNotTakenBackANewOneIs) {
  ASSERT_THAT(Do(Register(1, 5)), IsOk());
  ASSERT_THAT(SetState(1, v1::SERVER_STATE_REMOVED), IsOk());
  ASSERT_THAT(SetState(1, v1::SERVER_STATE_ACTIVE), IsOk());
  EXPECT_THAT(Do(Register(1, 5)), HasReason(v1::REASON_STALE_BOOT));
  EXPECT_THAT(Do(Register(1, 6)), IsOk());
}

TEST_F(ConfigMachineTest, ARestartKeepsAServerDraining) {
  ASSERT_THAT(Do(Register(1, 1)), IsOk());
  ASSERT_THAT(SetState(1, v1::SERVER_STATE_DRAINING), IsOk());
  ASSERT_THAT(Do(Register(1, 2)), IsOk());
  EXPECT_EQ(machine_.FindServer(Uuid(1))->state(),
            static_cast<uint32_t>(v1::SERVER_STATE_DRAINING));
}

TEST_F(ConfigMachineTest, StatesAreSetOnlyForKnownServersAndKnownStates) {
  EXPECT_THAT(SetState(1, v1::SERVER_STATE_DRAINING), HasReason(v1::REASON_UNKNOWN_SERVER));
  ASSERT_THAT(Do(Register(1, 1)), IsOk());
  EXPECT_THAT(SetState(1, v1::SERVER_STATE_UNSPECIFIED),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(SetState(1, static_cast<v1::ServerState>(9)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  const uint64_t version = machine_.registry_version();
  ASSERT_THAT(SetState(1, v1::SERVER_STATE_ACTIVE), IsOk());
  EXPECT_EQ(machine_.registry_version(), version);
}

TEST_F(ConfigMachineTest, MalformedRegistrationsAreRefused) {
  auto bad = Register(1, 1);
  bad.set_server_id("../../etc/passwd");
  EXPECT_THAT(Do(bad), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Do(Register(1, 0)), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Do(Register(1, 1, "nowhere")), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Do(Register(1, 1, "127.0.0.1:7600", "a zone")),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Do(Register(1, 1, "127.0.0.1:7600", std::string(65, 'z'))),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ConfigMachineTest, NumbersRunOutOnceAndForAll) {
  log::Image image;
  ASSERT_TRUE(image.ParseFromString(machine_.TakeImage("controller")));
  image.set_next_server_index(kServerIndexMax);
  ASSERT_THAT(machine_.RestoreImage("controller", image.SerializeAsString()), IsOk());
  ASSERT_THAT(Do(Register(1, 1)), IsOk());
  EXPECT_EQ(last_.server_index(), kServerIndexMax);
  EXPECT_THAT(Do(Register(2, 1)), HasReason(v1::REASON_REGISTRY_FULL));
  EXPECT_THAT(Do(Register(1, 2)), IsOk());
}

TEST_F(ConfigMachineTest, TheRegistryAlwaysFitsIntoAMessage) {
  const std::string zone(kZoneBytesMax, 'z');
  const std::string long_host(240, 'h');
  uint32_t n = 1;
  while (Do(Register(n, 1, long_host + ":7600", zone)).ok()) {
    ASSERT_LT(++n, 20'000u);
  }
  EXPECT_THAT(Do(Register(n, 1, long_host + ":7600", zone)), HasReason(v1::REASON_REGISTRY_FULL));
  EXPECT_GT(n, 8000u);
  EXPECT_LE(machine_.RegistryProto().ByteSizeLong(), kRegistryBytesMax + 1024);
  EXPECT_THAT(Do(Register(1, 2, "h:1")), IsOk()) << "a restart makes room";
  EXPECT_THAT(Do(Register(n, 1, "h:1")), IsOk());
  ConfigMachine other(16);
  ASSERT_THAT(other.RestoreImage("controller", machine_.TakeImage("controller")), IsOk());
  EXPECT_EQ(other.TakeImage("controller"), machine_.TakeImage("controller"));
}

// --- settings ------------------------------------------------------------------------------------

TEST_F(ConfigMachineTest, SettingsChangeFieldByField) {
  v1::UpdateSettingsRequest update;
  update.set_grace_ms(0);
  ASSERT_THAT(Do(update), IsOk());
  EXPECT_EQ(machine_.settings().grace_ms(), 0u);
  EXPECT_EQ(machine_.settings().heartbeat_interval_ms(), 5000u);
  EXPECT_EQ(machine_.registry_version(), 2u);
  ASSERT_THAT(Do(update), IsOk());
  EXPECT_EQ(machine_.registry_version(), 2u);
}

TEST_F(ConfigMachineTest, SettingsOutOfRangeChangeNothing) {
  const auto refuse = [&](const std::function<void(v1::UpdateSettingsRequest&)>& set) {
    v1::UpdateSettingsRequest update;
    update.set_grace_ms(1);  // fine, and must not be taken either
    set(update);
    EXPECT_THAT(Do(update), StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_EQ(machine_.registry_version(), 1u);
  };
  refuse([](auto& u) { u.set_default_replicas(0); });
  refuse([](auto& u) { u.set_default_replicas(6); });
  refuse([](auto& u) { u.set_min_replicas(0); });
  refuse([](auto& u) { u.set_min_replicas(4); });  // above default_replicas
  refuse([](auto& u) { u.set_default_replicas(1); });
  refuse([](auto& u) { u.set_inline_bytes(65537); });
  refuse([](auto& u) { u.set_heartbeat_interval_ms(99); });
  refuse([](auto& u) { u.set_draft_expiry_ms(999); });
  refuse([](auto& u) { u.set_grace_ms(86'400'001); });
  refuse([](auto& u) { u.set_session_idle_ms(0); });
}

// --- images --------------------------------------------------------------------------------------

class ConfigMachineImageTest : public ConfigMachineTest {
 protected:
  void SetUp() override {
    ASSERT_THAT(Do(Join(1)), IsOk());
    ASSERT_THAT(Do(Join(1, "10.0.0.1:7500")), IsOk());
    ASSERT_THAT(Do(Register(1, 1)), IsOk());
    ASSERT_THAT(Do(Register(2, 4, "127.0.0.1:7601", "b")), IsOk());
    ASSERT_THAT(SetState(1, v1::SERVER_STATE_DRAINING), IsOk());
    image_ = machine_.TakeImage("controller");
  }

  void ExpectRefused(const std::function<void(log::Image&)>& damage) {
    log::Image image;
    ASSERT_TRUE(image.ParseFromString(image_));
    damage(image);
    EXPECT_THAT(machine_.RestoreImage("controller", image.SerializeAsString()),
                StatusIs(absl::StatusCode::kDataLoss));
    EXPECT_EQ(machine_.TakeImage("controller"), image_);
  }

  std::string image_;
};

TEST_F(ConfigMachineImageTest, AnImageHoldsEverything) {
  ConfigMachine other(16);
  ASSERT_THAT(other.RestoreImage("controller", image_), IsOk());
  EXPECT_EQ(other.TakeImage("controller"), image_);
  EXPECT_EQ(other.current_version(), ConfigVersion(2));
  EXPECT_EQ(*other.FindConfig(ConfigVersion(1)), *machine_.FindConfig(ConfigVersion(1)));
  EXPECT_EQ(other.RegistryProto().SerializeAsString(),
            machine_.RegistryProto().SerializeAsString());
  other.Reset();
  EXPECT_EQ(other.TakeImage("controller"), ConfigMachine(16).TakeImage("controller"));
}

TEST_F(ConfigMachineImageTest, ReplaySkipsWhatTheImageHolds) {
  const auto command = CommandOf(Register(9, 1));
  ASSERT_THAT(command, IsOk());
  EXPECT_EQ(machine_.Apply(RaftIndex(index_), command->SerializeAsString()), "");
  EXPECT_EQ(machine_.FindServer(Uuid(9)), nullptr);
  EXPECT_NE(machine_.Apply(RaftIndex(index_ + 5), command->SerializeAsString()), "");
  EXPECT_NE(machine_.FindServer(Uuid(9)), nullptr);
}

TEST_F(ConfigMachineImageTest, DamagedImagesAreRefusedWhole) {
  ExpectRefused([](log::Image& i) { i.set_format(2); });
  ExpectRefused([](log::Image& i) { i.set_shard_count(17); });
  ExpectRefused([](log::Image& i) { i.mutable_configurations()->DeleteSubrange(0, 1); });
  ExpectRefused([](log::Image& i) { i.mutable_configurations(1)->set_version(3); });
  ExpectRefused([](log::Image& i) { i.mutable_configurations(0)->set_shard_owner(3, 2); });
  ExpectRefused([](log::Image& i) { i.mutable_configurations(0)->add_shard_owner(1); });
  ExpectRefused([](log::Image& i) { i.mutable_configurations(0)->clear_groups(); });
  ExpectRefused([](log::Image& i) { i.mutable_servers()->SwapElements(0, 1); });
  ExpectRefused([](log::Image& i) { i.mutable_servers(0)->set_server_id(Uuid(2)); });
  ExpectRefused([](log::Image& i) { i.mutable_servers(0)->set_state(4); });
  ExpectRefused([](log::Image& i) { i.mutable_servers(0)->set_address(""); });
  ExpectRefused([](log::Image& i) { i.set_next_server_index(2); });
  ExpectRefused([](log::Image& i) { i.set_next_server_index(kServerIndexMax + 2); });
  ExpectRefused([](log::Image& i) { i.set_registry_version(0); });
  ExpectRefused([](log::Image& i) { i.mutable_settings()->set_min_replicas(9); });
  ExpectRefused([](log::Image& i) { i.clear_settings(); });
  EXPECT_THAT(machine_.RestoreImage("other", image_), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(ConfigMachineImageTest, NoFlippedOrMissingByteBreaksAnInvariant) {
  const google::protobuf::LogSilencer quiet;  // damaged strings are the point here
  constexpr uint64_t kSeed = 7;
  Rng rng(kSeed);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = image_;
    if (rng.OneIn(4)) {
      bytes.resize(rng.Below(bytes.size()));
    } else {
      bytes[rng.Below(bytes.size())] ^= static_cast<char>(rng.Between(1, 255));
    }
    ConfigMachine other(16);
    const absl::Status status = other.RestoreImage("controller", bytes);
    if (!status.ok()) {
      ASSERT_THAT(status, StatusIs(absl::StatusCode::kDataLoss)) << "seed " << kSeed << " i " << i;
      ASSERT_EQ(other.TakeImage("controller"), ConfigMachine(16).TakeImage("controller"));
      continue;
    }
    // Taken: then what it holds must be whole again, and usable.
    ConfigMachine third(16);
    ASSERT_THAT(third.RestoreImage("controller", other.TakeImage("controller")), IsOk());
    const v1::Registry registry = other.RegistryProto();
    for (const auto& server : registry.servers()) {
      ASSERT_NE(other.FindServer(server.server_id()), nullptr);
    }
  }
}

}  // namespace
}  // namespace ballast::shardctl
