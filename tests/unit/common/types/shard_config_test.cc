// SPDX-License-Identifier: Apache-2.0
#include "common/types/shard_config.h"

#include <string>

#include "common/types/limits.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ballast::testing::HasReason;
using ballast::testing::IsOk;
using ::testing::Not;

v1::GroupInfo Group(uint32_t id, std::initializer_list<std::pair<uint32_t, std::string>> masters) {
  v1::GroupInfo group;
  group.set_group_id(id);
  for (const auto& [node, address] : masters) {
    v1::MasterAddress* master = group.add_masters();
    master->set_node_id(node);
    master->set_address(address);
  }
  return group;
}

// Version 3: shards 0 and 2 at group 1, shard 1 at group 5.
v1::Configuration Good() {
  v1::Configuration proto;
  proto.set_version(3);
  for (const uint32_t owner : {1, 5, 1}) {
    proto.add_shard_owner(owner);
  }
  *proto.add_groups() = Group(1, {{1, "a:1"}});
  *proto.add_groups() = Group(5, {{1, "b:1"}, {2, "b:2"}, {3, "b:3"}});
  return proto;
}

TEST(ShardConfigTest, SurvivesTheRoundTrip) {
  ASSERT_OK_AND_ASSIGN(const ShardConfig config, ShardConfig::FromProto(Good()));
  EXPECT_EQ(config.version, ConfigVersion(3));
  ASSERT_EQ(config.owners.size(), 3u);
  EXPECT_EQ(config.owners[1], GroupId(5));
  ASSERT_NE(config.FindGroup(GroupId(5)), nullptr);
  EXPECT_EQ(config.FindGroup(GroupId(5))->masters[2].address, "b:3");
  EXPECT_EQ(config.FindGroup(GroupId(2)), nullptr);
  EXPECT_EQ(config.FindGroup(GroupId(0)), nullptr);
  EXPECT_EQ(config.ToProto().SerializeAsString(), Good().SerializeAsString());
  ASSERT_OK_AND_ASSIGN(const ShardConfig again, ShardConfig::FromProto(config.ToProto()));
  EXPECT_EQ(again, config);
}

TEST(ShardConfigTest, OwnersAreGroupsOrNobody) {
  v1::Configuration proto;
  proto.set_version(1);
  proto.add_shard_owner(0);
  proto.add_shard_owner(0);
  EXPECT_THAT(ShardConfig::FromProto(proto), IsOk());
  proto.set_shard_owner(1, 1);
  EXPECT_THAT(ShardConfig::FromProto(proto), Not(IsOk()));
  v1::Configuration mixed = Good();
  mixed.set_shard_owner(0, 0);
  ASSERT_OK_AND_ASSIGN(const ShardConfig config, ShardConfig::FromProto(mixed));
  EXPECT_EQ(config.owners[0], GroupId(0)) << "nobody known, beside a group";
  EXPECT_EQ(config.ToProto().SerializeAsString(), mixed.SerializeAsString());
}

TEST(ShardConfigTest, SortsTheMastersOfAGroup) {
  v1::Configuration proto = Good();
  *proto.mutable_groups(1) = Group(5, {{3, "b:3"}, {1, "b:1"}, {2, "b:2"}});
  ASSERT_OK_AND_ASSIGN(const ShardConfig config, ShardConfig::FromProto(proto));
  ASSERT_OK_AND_ASSIGN(const ShardConfig sorted, ShardConfig::FromProto(Good()));
  EXPECT_EQ(config, sorted);
}

TEST(ShardConfigTest, RefusesHostileConfigurations) {
  const auto refused = [](auto spoil) {
    v1::Configuration proto = Good();
    spoil(proto);
    const auto config = ShardConfig::FromProto(proto);
    EXPECT_THAT(config, HasReason(v1::REASON_INVALID_ARGUMENT));
  };
  refused([](v1::Configuration& c) { c.set_version(0); });
  refused([](v1::Configuration& c) { c.clear_shard_owner(); });
  refused([](v1::Configuration& c) { c.mutable_shard_owner()->Resize(kShardsMax + 1, 1); });
  refused([](v1::Configuration& c) { c.set_shard_owner(1, 2); });
  refused([](v1::Configuration& c) { c.set_shard_owner(1, ~uint32_t{0}); });
  refused([](v1::Configuration& c) { c.mutable_groups(0)->set_group_id(0); });
  refused([](v1::Configuration& c) { c.mutable_groups()->SwapElements(0, 1); });
  refused([](v1::Configuration& c) { *c.add_groups() = c.groups(1); });
  refused([](v1::Configuration& c) { c.mutable_groups(0)->clear_masters(); });
  refused(
      [](v1::Configuration& c) { *c.mutable_groups(0)->add_masters() = c.groups(1).masters(1); });
  refused([](v1::Configuration& c) { c.mutable_groups(1)->mutable_masters(2)->set_node_id(1); });
  refused([](v1::Configuration& c) { c.mutable_groups(1)->mutable_masters(2)->set_node_id(0); });
  refused(
      [](v1::Configuration& c) { c.mutable_groups(1)->mutable_masters(2)->set_address("b:1"); });
  refused([](v1::Configuration& c) { c.mutable_groups(0)->mutable_masters(0)->set_address("a"); });
}

TEST(ShardConfigTest, HoldsTheMostShardsThereMayBe) {
  v1::Configuration proto = Good();
  proto.mutable_shard_owner()->Resize(kShardsMax, 1);
  ASSERT_OK_AND_ASSIGN(const ShardConfig config, ShardConfig::FromProto(proto));
  EXPECT_EQ(config.owners.size(), kShardsMax);
}

TEST(GroupTest, HasOneThreeOrFiveMasters) {
  for (uint32_t count = 0; count <= 7; ++count) {
    v1::GroupInfo group;
    group.set_group_id(1);
    for (uint32_t i = 1; i <= count; ++i) {
      v1::MasterAddress* master = group.add_masters();
      master->set_node_id(i);
      master->set_address("h:" + std::to_string(i));
    }
    EXPECT_EQ(ValidateGroup(group).ok(), count == 1 || count == 3 || count == 5) << count;
  }
}

TEST(AddressTest, IsHostAndPort) {
  for (const char* good :
       {"localhost:1", "127.0.0.1:65535", "[::1]:7400", "a.b-c.example:07400", "m_1:80"}) {
    EXPECT_THAT(ValidateAddress(good), IsOk()) << good;
  }
  const std::string long_host(256, 'h');
  for (const std::string& bad : std::vector<std::string>{"",
                                                         ":",
                                                         ":80",
                                                         "host",
                                                         "host:",
                                                         "host:0",
                                                         "host:65536",
                                                         "host:99999999999",
                                                         "host:-1",
                                                         "host:+80",
                                                         "host: 80",
                                                         "ho st:80",
                                                         "host:80 ",
                                                         "host:80\n",
                                                         "ho\rst:80",
                                                         "http://h:80",
                                                         "h\x7f:80",
                                                         "h:80x",
                                                         "h\xC3\xA9:80",
                                                         std::string("h\0:80", 5),
                                                         long_host + ":80"}) {
    EXPECT_THAT(ValidateAddress(bad), HasReason(v1::REASON_INVALID_ARGUMENT)) << bad;
  }
}

}  // namespace
}  // namespace ballast
