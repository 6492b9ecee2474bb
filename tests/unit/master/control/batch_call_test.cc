// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/batch_call.h"

#include <optional>
#include <string>
#include <vector>

#include "common/types/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/master/core/commands.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/control/control_fixture.h"

namespace ballast::master {
namespace {

using testing::HasReason;

class BatchCallTest : public ControlFixture {
 protected:
  void AddPut(const std::string& key, const std::string& value) {
    v1::PutInlineRequest& put = *request_.add_operations()->mutable_put_inline();
    put.set_key(key);
    put.set_value(value);
    put.set_crc32c(ComputeCrc32c(value).value);
    Identify(key, *put.mutable_request());
    commands_.push_back(ToCommand(machine_.ShardOf(key), put, {}));
  }
  void AddDelete(const std::string& key) {
    v1::DeleteObjectRequest& removal = *request_.add_operations()->mutable_delete_object();
    removal.set_key(key);
    Identify(key, *removal.mutable_request());
    commands_.push_back(ToCommand(machine_.ShardOf(key), removal, {}));
  }
  void AddGet(const std::string& key) {
    request_.add_operations()->mutable_get_object()->set_key(key);
    commands_.emplace_back();
  }
  void Identify(const std::string& key, v1::RequestId& id) {
    const uint32_t shard = machine_.ShardOf(key).value();
    if (sessions_[shard] == 0) sessions_[shard] = OpenSession(shard);
    id.set_session_id(sessions_[shard]);
    id.set_sequence(++sequence_);
  }
  absl::Status RunIt() {
    std::optional<absl::Status> answer;
    executor_->Post([&] {
      RunBatch({&machine_, &view_, &proposer_}, request_, std::move(commands_), response_,
               [&](absl::Status status) { answer = status; });
    });
    CHECK(scheduler_.RunUntilTrue([&] { return answer.has_value(); }, absl::Seconds(1)));
    return *answer;
  }
  const v1::BatchResponse::Outcome& outcome(int i) { return response_.outcomes(i); }

  v1::BatchRequest request_;
  v1::BatchResponse response_;
  std::vector<mlog::Command> commands_;
  uint64_t sessions_[kShards] = {};
  uint64_t sequence_ = 0;
};

TEST_F(BatchCallTest, ManyPutsAreOneEntryWithAnOutcomeEach) {
  for (int i = 0; i < 100; ++i) AddPut("key" + std::to_string(i), "v");
  const RaftIndex before = log_.state().last;
  ASSERT_OK(RunIt());
  EXPECT_EQ(log_.state().last, before.Next());
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(outcome(i).code(), 0u);
    EXPECT_GT(outcome(i).put_inline().generation(), 0u);
  }
}

TEST_F(BatchCallTest, OperationsOnOneKeyTakeEffectInListOrder) {
  AddGet("k");
  AddPut("k", "1");
  AddGet("k");
  AddGet("k");
  AddPut("k", "2");
  AddPut("k", "3");
  AddGet("k");
  AddDelete("k");
  AddGet("k");
  ASSERT_OK(RunIt());
  const auto not_found = static_cast<uint32_t>(absl::StatusCode::kNotFound);
  EXPECT_EQ(outcome(0).code(), not_found);
  EXPECT_EQ(outcome(0).error().reason(), v1::REASON_OBJECT_NOT_FOUND);
  EXPECT_FALSE(outcome(0).has_get_object());
  EXPECT_EQ(outcome(2).get_object().inline_data(), "1");
  EXPECT_EQ(outcome(3).get_object().inline_data(), "1");
  EXPECT_EQ(outcome(6).get_object().inline_data(), "3");
  EXPECT_EQ(outcome(7).delete_object().generation(), outcome(6).get_object().object().generation());
  EXPECT_EQ(outcome(8).code(), not_found);
}

TEST_F(BatchCallTest, OneFailureLeavesTheOthersAlone) {
  AddDelete("missing");
  AddPut("k", "v");
  ASSERT_OK(RunIt());
  EXPECT_EQ(outcome(0).error().reason(), v1::REASON_OBJECT_NOT_FOUND);
  EXPECT_FALSE(outcome(0).text().empty());
  EXPECT_EQ(outcome(1).code(), 0u);
}

TEST_F(BatchCallTest, WithoutALeaderTheBatchFailsAsAWhole) {
  AddPut("k", "v");
  log_.SetRole(ReplicatedLog::Role::kFollower);
  EXPECT_THAT(RunIt(), HasReason(v1::REASON_NOT_LEADER));
  request_.Clear();
  commands_.clear();
  AddGet("k");
  EXPECT_THAT(RunIt(), HasReason(v1::REASON_NOT_LEADER));
}

TEST_F(BatchCallTest, GetsBeyondWhatAReplyHoldsAreRefusedOneByOne) {
  const std::string value(kInlineBytesMax, 'v');
  ASSERT_EQ(Run(Put("k", value))->code(), 0u);
  for (int i = 0; i < 80; ++i) AddGet("k");
  ASSERT_OK(RunIt());
  EXPECT_EQ(outcome(0).get_object().inline_data(), value);
  EXPECT_EQ(outcome(79).error().reason(), v1::REASON_OVERLOADED);
  EXPECT_LT(response_.ByteSizeLong(), kMessageBytesMax);
}

}  // namespace
}  // namespace ballast::master
