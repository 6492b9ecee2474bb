// SPDX-License-Identifier: Apache-2.0
// The replica group behind set_config and config_update: a real master, asked what it has applied.
#include "gateway/config_group.h"

#include <memory>
#include <utility>
#include <vector>

#include "client/grpc_master_api.h"
#include "common/base/crc32c.h"
#include "common/routing/shard_router.h"
#include "common/types/limits.h"
#include "gateway/scratch_folder.h"
#include "gateway/unsynced_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::gateway {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;

class ConfigGroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(scratch_, ScratchFolder::Make(::testing::TempDir()));
    ASSERT_OK_AND_ASSIGN(group_, ConfigGroup::Start(fs_, JoinPath(scratch_->path(), "group")));
  }
  // Applied or not, and the version that is current then.
  std::pair<bool, uint64_t> Update(uint64_t version, std::vector<uint32_t> shards) {
    const auto outcome = group_->Update({version, std::move(shards)});
    EXPECT_OK(outcome);
    return outcome.ok() ? std::pair(outcome->applied, outcome->current_version)
                        : std::pair(false, uint64_t{0});
  }
  uint32_t OwnedShards() {
    const auto status = group_->Status();
    EXPECT_OK(status);
    return status.ok() ? status->shard_count() : 0;
  }

  std::unique_ptr<ScratchFolder> scratch_;
  UnsyncedFileSystem fs_{PosixFileSystem()};
  std::unique_ptr<ConfigGroup> group_;
};

TEST_F(ConfigGroupTest, ASetIsWhatTheGroupServesWhenItIsAnswered) {
  ASSERT_OK(group_->Set({1, {0, 1, 2}}));
  EXPECT_EQ(OwnedShards(), 3u);
}

TEST_F(ConfigGroupTest, TheNextVersionIsAppliedAndLosesAShard) {
  ASSERT_OK(group_->Set({1, {0, 1, 2}}));
  EXPECT_EQ(Update(2, {0, 1}), std::pair(true, uint64_t{2}));
  EXPECT_EQ(OwnedShards(), 2u);
}

TEST_F(ConfigGroupTest, AnUpdateBeforeAnySetCountsFromZero) {
  EXPECT_EQ(Update(2, {0}), std::pair(false, uint64_t{0}));
  EXPECT_EQ(Update(1, {0}), std::pair(true, uint64_t{1}));
  EXPECT_EQ(OwnedShards(), 1u);
}

TEST_F(ConfigGroupTest, SkippedOldAndConflictingVersionsAreNotApplied) {
  ASSERT_OK(group_->Set({5, {1, 2}}));
  EXPECT_EQ(Update(7, {1}), std::pair(false, uint64_t{5}));
  EXPECT_EQ(Update(4, {1}), std::pair(false, uint64_t{5}));
  EXPECT_EQ(Update(5, {1}), std::pair(false, uint64_t{5}));
  EXPECT_EQ(OwnedShards(), 2u);
}

TEST_F(ConfigGroupTest, TheSameConfigurationAgainIsAppliedAndChangesNothing) {
  ASSERT_OK(group_->Set({5, {1, 2}}));
  ASSERT_OK(group_->Set({5, {1, 2}}));
  EXPECT_EQ(Update(5, {1, 2}), std::pair(true, uint64_t{5}));
  ASSERT_OK_AND_ASSIGN(const auto status, group_->Status());
  EXPECT_EQ(status.config_version(), 1u);
}

TEST_F(ConfigGroupTest, ASetMayGoBackWhileTheGroupsOwnNumbersGoOn) {
  ASSERT_OK(group_->Set({9, {0, 1}}));
  ASSERT_OK(group_->Set({3, {7}}));
  EXPECT_EQ(OwnedShards(), 1u);
  EXPECT_EQ(Update(4, {7, 8}), std::pair(true, uint64_t{4}));
  ASSERT_OK_AND_ASSIGN(const auto status, group_->Status());
  EXPECT_EQ(status.config_version(), 3u);
}

TEST_F(ConfigGroupTest, AGroupMayOwnNothingAndGetItAllBack) {
  ASSERT_OK(group_->Set({1, {0, 65535}}));
  EXPECT_EQ(Update(2, {}), std::pair(true, uint64_t{2}));
  EXPECT_EQ(OwnedShards(), 0u);
  EXPECT_EQ(Update(3, {0, 65535}), std::pair(true, uint64_t{3}));
  EXPECT_EQ(OwnedShards(), 2u);
}

TEST_F(ConfigGroupTest, WhatAShardHoldsIsFrozenWhileTheGroupDoesNotOwnItAndComesBack) {
  const std::string key = "k";
  const uint32_t shard = ShardOfKey(key, kShardsMax).value();
  ASSERT_OK(group_->Set({1, {shard}}));
  const auto api = client::MakeGrpcMasterApi(group_->cluster_id());
  const auto call = [&](const auto& request, auto* response) {
    return api->Call(group_->master_address(), client::CallContext(), request, response);
  };
  v1::OpenSessionsRequest open;
  open.add_shards(shard);
  v1::OpenSessionsResponse opened;
  ASSERT_OK(call(open, &opened));
  v1::PutInlineRequest put;
  put.mutable_request()->set_session_id(opened.session_ids(0));
  put.mutable_request()->set_sequence(1);
  put.set_key(key);
  put.set_value("kept");
  put.set_crc32c(ComputeCrc32c("kept").value);
  v1::PutInlineResponse stored;
  ASSERT_OK(call(put, &stored));

  v1::GetObjectRequest get;
  get.set_key(key);
  v1::GetObjectResponse found;
  ASSERT_OK(call(get, &found));
  ASSERT_EQ(Update(2, {}), std::pair(true, uint64_t{2}));
  EXPECT_THAT(call(get, &found), HasReason(v1::REASON_WRONG_GROUP));
  ASSERT_EQ(Update(3, {shard}), std::pair(true, uint64_t{3}));
  found.Clear();
  ASSERT_OK(call(get, &found));
  EXPECT_EQ(found.inline_data(), "kept");
}

TEST_F(ConfigGroupTest, AShardThatNoClusterHasIsTheCallersMistake) {
  EXPECT_THAT(group_->Set({1, {65536}}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(group_->Update({1, {65536}}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(Update(1, {0}), std::pair(true, uint64_t{1}));
}

TEST_F(ConfigGroupTest, HundredsOfConfigurationsGoThrough) {
  for (uint64_t version = 1; version <= 300; ++version) {
    ASSERT_EQ(Update(version, {static_cast<uint32_t>(version % 7)}), std::pair(true, version));
  }
  EXPECT_EQ(OwnedShards(), 1u);
}

}  // namespace
}  // namespace ballast::gateway
