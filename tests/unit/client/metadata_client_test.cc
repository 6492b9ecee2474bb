// SPDX-License-Identifier: Apache-2.0
#include "client/metadata_client.h"

#include "client/object_lister.h"
#include "common/types/error.h"
#include "tests/unit/client/client_fixture.h"

namespace ballast::client {
namespace {

class MetadataClientTest : public ClientTest {
 protected:
  absl::StatusOr<v1::PutInlineResponse> PutValue(const std::string& key, const std::string& value,
                                                 CallControl control = {}) {
    v1::PutInlineRequest request;
    request.set_key(key);
    request.set_value(value);
    request.set_crc32c(ComputeCrc32c(value).value);
    return metadata_.PutInline(std::move(request), control);
  }

  static v1::BatchRequest::Operation PutOperation(const std::string& key) {
    v1::BatchRequest::Operation operation;
    operation.mutable_put_inline()->set_key(key);
    operation.mutable_put_inline()->set_value(key);
    return operation;
  }
};

TEST_F(MetadataClientTest, OpensOneSessionAShardAndKeepsIt) {
  ASSERT_OK(PutValue("a", "1"));
  ASSERT_OK(PutValue("a", "2"));
  EXPECT_EQ(master_.calls("OpenSessions"), 1);
  EXPECT_EQ(master_.executions("PutInline"), 2);
}

TEST_F(MetadataClientTest, FollowsTheLeaderAndStaysThere) {
  master_.SetLeader("m3:1");
  ASSERT_OK(PutValue("a", "1"));
  const int calls = master_.calls("PutInline") + master_.calls("OpenSessions");
  EXPECT_EQ(calls, 3);  // one of them was refused by m1
  master_.SetLeader("m2:1");
  ASSERT_OK(PutValue("a", "2"));
  EXPECT_EQ(pacer_.waited(), absl::ZeroDuration());
}

TEST_F(MetadataClientTest, ALostAnswerIsRetriedWithTheSameIdentityAndAppliedOnce) {
  master_.Inject("PutInline", {absl::UnavailableError("connection lost"), true}, 3);
  ASSERT_OK_AND_ASSIGN(const auto put, PutValue("a", "1"));
  EXPECT_EQ(master_.executions("PutInline"), 1);
  EXPECT_EQ(put.generation(), master_.Find("a")->object().generation());
  const auto requests = master_.requests();
  ASSERT_EQ(requests.size(), 4u);
  for (const v1::RequestId& request : requests) {
    EXPECT_EQ(request.SerializeAsString(), requests[0].SerializeAsString());
  }
}

TEST_F(MetadataClientTest, ADefiniteAnswerAfterALostOneIsBelieved) {
  v1::DeleteObjectRequest request;
  request.set_key("nothing");
  master_.Inject("DeleteObject", {absl::UnavailableError("connection lost"), true});
  EXPECT_THAT(metadata_.Delete(request, {}), HasReason(v1::REASON_OBJECT_NOT_FOUND));
}

TEST_F(MetadataClientTest, AForeignServersRefusalIsNoAnswerToALostTry) {
  const absl::Status foreign = MakeError(v1::REASON_WRONG_CLUSTER, "another cluster");
  master_.Inject("PutInline", {foreign, false});
  EXPECT_THAT(PutValue("a", "1"), HasReason(v1::REASON_WRONG_CLUSTER));
  master_.Inject("PutInline", {absl::UnavailableError("connection lost"), true});
  master_.Inject("PutInline", {foreign, false});
  EXPECT_THAT(PutValue("a", "1"), HasReason(v1::REASON_OUTCOME_UNKNOWN));
  master_.Inject("Batch", {absl::UnavailableError("connection lost"), true});
  master_.Inject("Batch", {foreign, false});
  EXPECT_THAT(metadata_.Batch({PutOperation("a")}, {})[0], HasReason(v1::REASON_OUTCOME_UNKNOWN));
}

TEST_F(MetadataClientTest, GivesUpAfterTheLimitAndSaysThatNobodyKnows) {
  master_.Inject("PutInline", {absl::UnavailableError("connection lost"), true}, 10000);
  const auto put = PutValue("a", "1");
  EXPECT_THAT(put, HasReason(v1::REASON_OUTCOME_UNKNOWN));
  EXPECT_LE(pacer_.waited(), absl::Minutes(10));
  EXPECT_GE(pacer_.waited(), absl::Minutes(9));
  EXPECT_EQ(master_.executions("PutInline"), 1);
}

TEST_F(MetadataClientTest, GivesUpDefinitelyIfNoTryWasExecuted) {
  master_.Inject("PutInline", {NotReadyError("loading", absl::Milliseconds(50)), false}, 100000);
  const auto put = PutValue("a", "1");
  EXPECT_THAT(put, HasReason(v1::REASON_NOT_READY));
  EXPECT_TRUE(IsDefinite(put.status()));
  EXPECT_FALSE(master_.Find("a").has_value());
}

TEST_F(MetadataClientTest, AnExpiredSessionIsReplacedIfNothingIsInDoubt) {
  ASSERT_OK(PutValue("a", "1"));
  master_.ForgetSessions();
  ASSERT_OK(PutValue("a", "2"));
  EXPECT_EQ(master_.calls("OpenSessions"), 2);
  EXPECT_EQ(master_.Find("a")->inline_data(), "2");
}

TEST_F(MetadataClientTest, AnExpiredSessionAfterALostAnswerIsAnUnknownOutcome) {
  ASSERT_OK(PutValue("a", "1"));
  master_.Inject("PutInline", {absl::DeadlineExceededError("late"), false});
  master_.OnCall("PutInline", [this] { master_.ForgetSessions(); });
  EXPECT_THAT(PutValue("a", "2"), HasReason(v1::REASON_OUTCOME_UNKNOWN));
  EXPECT_EQ(master_.executions("PutInline"), 1);
}

TEST_F(MetadataClientTest, AMasterThatForgetsEverySessionEndsTheRequest) {
  master_.OnCall("PutInline", [this] { master_.ForgetSessions(); });
  EXPECT_THAT(PutValue("a", "1"), HasReason(v1::REASON_OUTCOME_UNKNOWN));
  EXPECT_LE(master_.calls("OpenSessions"), 3);
}

TEST_F(MetadataClientTest, WrongGroupRefreshesTheConfiguration) {
  ASSERT_OK(PutValue("a", "1"));
  const int fetches = cluster_.fetches();
  master_.Inject("PutInline", {WrongGroupError(2, "moved"), false});
  ASSERT_OK(PutValue("a", "2"));
  EXPECT_EQ(cluster_.fetches(), fetches + 1);
}

TEST_F(MetadataClientTest, GoesToTheNextMemberWhenOneIsSilent) {
  master_.Inject("StatObject", {absl::DeadlineExceededError("silent"), false}, 2);
  EXPECT_THAT(metadata_.Stat("a", {}), HasReason(v1::REASON_OBJECT_NOT_FOUND));
  EXPECT_EQ(master_.calls("StatObject"), 3);
}

TEST_F(MetadataClientTest, AControllerThatIsDownAtFirstIsWaitedFor) {
  cluster_.FailWith(absl::UnavailableError("no controller"));
  const RetryLimits limits{.total = absl::Seconds(3)};
  EXPECT_THAT(PutValue("a", "1", CallControl{nullptr, limits}),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(master_.calls("PutInline"), 0);
}

TEST_F(MetadataClientTest, LongWaitsAreReportedNowAndThen) {
  master_.Inject("PutInline", {NotReadyError("loading", absl::Milliseconds(500)), false}, 40);
  ASSERT_OK(PutValue("a", "1"));
  absl::MutexLock lock(&waits_mu_);
  ASSERT_FALSE(waits_.empty());
  EXPECT_LE(waits_.size(), 2u + static_cast<size_t>(pacer_.waited() / absl::Seconds(5)));
  EXPECT_NE(waits_[0].find("loading"), std::string::npos);
}

TEST_F(MetadataClientTest, ShortWaitsAreNotReported) {
  master_.Inject("PutInline", {absl::UnavailableError("blip"), false}, 2);
  ASSERT_OK(PutValue("a", "1"));
  absl::MutexLock lock(&waits_mu_);
  EXPECT_TRUE(waits_.empty());
}

TEST_F(MetadataClientTest, CancellationEndsTheRetriesHonestly) {
  Cancellation cancel;
  master_.Inject("PutInline", {absl::UnavailableError("lost"), true}, 1000);
  int calls = 0;
  master_.OnCall("PutInline", [&] {
    if (++calls == 3) {
      cancel.Cancel();
    }
  });
  EXPECT_THAT(PutValue("a", "1", CallControl{&cancel, {}}), HasReason(v1::REASON_OUTCOME_UNKNOWN));
  EXPECT_EQ(calls, 3);
  EXPECT_THAT(PutValue("b", "1", CallControl{&cancel, {}}),
              ::testing::Not(HasReason(v1::REASON_NOT_READY)));
}

TEST_F(MetadataClientTest, RefusesBadKeysWithoutACall) {
  for (const std::string& key :
       {std::string(), std::string(1025, 'k'), std::string("\xff"), std::string("a\0b", 3)}) {
    EXPECT_THAT(PutValue(key, "1"), HasReason(v1::REASON_INVALID_ARGUMENT));
  }
  EXPECT_EQ(master_.calls("PutInline") + master_.calls("OpenSessions"), 0);
}

TEST_F(MetadataClientTest, ClosesItsSessions) {
  ASSERT_OK(PutValue("a", "1"));
  metadata_.CloseSessions();
  EXPECT_EQ(master_.calls("CloseSessions"), 1);
  ASSERT_OK(PutValue("a", "2"));
  EXPECT_EQ(master_.calls("OpenSessions"), 2);
}

// --- Batch -----------------------------------------------------------------------------------

TEST_F(MetadataClientTest, BatchGivesEachOperationItsOwnOutcome) {
  v1::BatchRequest::Operation missing;
  missing.mutable_delete_object()->set_key("missing");
  v1::BatchRequest::Operation bad;
  bad.mutable_get_object()->set_key("");
  const auto outcomes = metadata_.Batch({PutOperation("a"), missing, bad, PutOperation("b")}, {});
  ASSERT_EQ(outcomes.size(), 4u);
  EXPECT_OK(outcomes[0]);
  EXPECT_THAT(outcomes[1], HasReason(v1::REASON_OBJECT_NOT_FOUND));
  EXPECT_THAT(outcomes[2], HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_OK(outcomes[3]);
  EXPECT_EQ(master_.calls("Batch"), 1);
}

TEST_F(MetadataClientTest, BatchRetriesOnlyWhatFailed) {
  master_.Inject("BatchOperation", {NotReadyError("moving", absl::Milliseconds(5)), false});
  const auto outcomes = metadata_.Batch({PutOperation("a"), PutOperation("b")}, {});
  EXPECT_OK(outcomes[0]);
  EXPECT_OK(outcomes[1]);
  EXPECT_EQ(master_.calls("Batch"), 2);
  EXPECT_EQ(master_.executions("PutInline"), 2);
}

TEST_F(MetadataClientTest, ALostBatchIsRetriedAndAppliedOnce) {
  master_.Inject("Batch", {absl::UnavailableError("lost"), true}, 2);
  const auto outcomes = metadata_.Batch({PutOperation("a"), PutOperation("b")}, {});
  EXPECT_OK(outcomes[0]);
  EXPECT_OK(outcomes[1]);
  EXPECT_EQ(master_.executions("PutInline"), 2);
}

TEST_F(MetadataClientTest, ABatchThatIsGivenUpSaysWhatIsUnknown) {
  v1::BatchRequest::Operation get;
  get.mutable_get_object()->set_key("a");
  master_.Inject("Batch", {absl::UnavailableError("lost"), false}, 100000);
  const auto outcomes = metadata_.Batch({PutOperation("a"), get}, {});
  EXPECT_THAT(outcomes[0], HasReason(v1::REASON_OUTCOME_UNKNOWN));
  EXPECT_THAT(outcomes[1], StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(MetadataClientTest, BatchReplacesAnExpiredSession) {
  ASSERT_OK(metadata_.Batch({PutOperation("a")}, {})[0]);
  master_.ForgetSessions();
  EXPECT_OK(metadata_.Batch({PutOperation("a")}, {})[0]);
}

TEST_F(MetadataClientTest, BatchSplitsByCountAndBytes) {
  std::vector<v1::BatchRequest::Operation> operations;
  for (int i = 0; i < 1100; ++i) {
    operations.push_back(PutOperation(absl::StrCat("k", i)));
  }
  for (const auto& outcome : metadata_.Batch(std::move(operations), {})) {
    ASSERT_OK(outcome);
  }
  EXPECT_EQ(master_.calls("Batch"), 2);
}

// --- List ------------------------------------------------------------------------------------

TEST_F(MetadataClientTest, ListWalksAllPagesInOrder) {
  for (const char* key : {"b", "a/2", "a/1", "a/3", "c"}) {
    ASSERT_OK(PutValue(key, "x"));
  }
  ObjectLister lister(metadata_, "a/", "", {});
  ASSERT_OK_AND_ASSIGN(auto page, lister.Next(2));
  ASSERT_EQ(page.size(), 2u);
  EXPECT_EQ(page[0].key(), "a/1");
  EXPECT_EQ(page[1].key(), "a/2");
  ASSERT_OK_AND_ASSIGN(page, lister.Next(2));
  ASSERT_EQ(page.size(), 1u);
  EXPECT_EQ(page[0].key(), "a/3");
}

TEST_F(MetadataClientTest, ListMergesGroupsAndShowsAKeyOnce) {
  // Both groups are the same fake: every key comes twice, as when a shard migrates between pages.
  v1::Configuration two = *cluster_.CurrentConfiguration();
  two.set_version(2);
  v1::GroupInfo* const group = two.add_groups();
  group->set_group_id(2);
  group->add_masters()->set_node_id(1);
  group->mutable_masters(0)->set_address("n1:1");
  cluster_.Set(two);
  for (const char* key : {"b", "a", "c"}) {
    ASSERT_OK(PutValue(key, "x"));
  }
  ObjectLister lister(metadata_, "", "a", {});
  ASSERT_OK_AND_ASSIGN(const auto page, lister.Next(10));
  ASSERT_EQ(page.size(), 2u);
  EXPECT_EQ(page[0].key(), "b");
  EXPECT_EQ(page[1].key(), "c");
}

}  // namespace
}  // namespace ballast::client
