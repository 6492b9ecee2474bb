// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/master/service_fixture.h"
#include "tests/support/status_matchers.h"

// The metadata RPCs over real gRPC: small objects, reads, batches, sessions, leadership, refusals.
// Large writes: large_write_test.cc.

namespace ballast::master {
namespace {

using ::testing::ElementsAre;
using testing::HasReason;

using Stub = v1::Master::Stub;

class MasterServiceTest : public ServiceFixture {};

TEST_F(MasterServiceTest, StoresReturnsAndRemovesASmallValue) {
  Start();
  v1::PutInlineRequest put = PutRequest("k", "value");
  put.add_metadata()->set_name("type");
  put.mutable_metadata(0)->set_value("text");
  v1::PutInlineResponse stored;
  ASSERT_OK(Call(&Stub::PutInline, put, &stored));
  EXPECT_EQ(stored.generation(), 1u);

  v1::GetObjectResponse got;
  ASSERT_OK(Get("k", &got));
  EXPECT_EQ(got.inline_data(), "value");
  EXPECT_TRUE(got.object().is_inline());
  EXPECT_EQ(got.object().size_bytes(), 5u);
  EXPECT_EQ(got.object().crc32c(), put.crc32c());
  EXPECT_EQ(got.object().metadata(0).value(), "text");
  EXPECT_GT(got.object().modified_unix_ms(), 1'600'000'000'000u);

  v1::StatObjectRequest stat;
  stat.set_key("k");
  v1::StatObjectResponse facts;
  ASSERT_OK(Call(&Stub::StatObject, stat, &facts));
  EXPECT_EQ(facts.object().SerializeAsString(), got.object().SerializeAsString());

  v1::DeleteObjectRequest removal;
  removal.set_key("k");
  Identify(ShardOf("k"), removal.mutable_request());
  v1::DeleteObjectResponse removed;
  ASSERT_OK(Call(&Stub::DeleteObject, removal, &removed));
  EXPECT_EQ(removed.generation(), 1u);
  EXPECT_THAT(Get("k", &got), HasReason(v1::REASON_OBJECT_NOT_FOUND));
  EXPECT_THAT(Call(&Stub::StatObject, stat, &facts), HasReason(v1::REASON_OBJECT_NOT_FOUND));
  ASSERT_OK(Call(&Stub::DeleteObject, removal, &removed)) << "a retry gets the same reply";
}

TEST_F(MasterServiceTest, PreconditionsAndReusedRequestsAreRefused) {
  Start();
  v1::PutInlineRequest put = PutRequest("k", "1");
  put.mutable_precondition()->set_if_generation_match(0);
  v1::PutInlineResponse response;
  ASSERT_OK(Call(&Stub::PutInline, put, &response));
  v1::PutInlineRequest other = put;
  other.set_value("2");
  other.set_crc32c(ComputeCrc32c("2").value);
  EXPECT_THAT(Call(&Stub::PutInline, other, &response), HasReason(v1::REASON_REQUEST_REUSED));
  Identify(ShardOf("k"), other.mutable_request());
  EXPECT_THAT(Call(&Stub::PutInline, other, &response), HasReason(v1::REASON_GENERATION_MISMATCH));
}

TEST_F(MasterServiceTest, ALostReplyIsRetriedWithoutASecondEffect) {
  Start();
  ASSERT_OK(Put("k", "first"));
  const v1::PutInlineRequest put = PutRequest("k", "second");
  OnExecutor([this] { log_->LoseNextReply(/*applied=*/true); });
  v1::PutInlineResponse response;
  EXPECT_THAT(Call(&Stub::PutInline, put, &response), HasReason(v1::REASON_OUTCOME_UNKNOWN));
  ASSERT_OK(Call(&Stub::PutInline, put, &response));
  EXPECT_EQ(response.generation(), 2u);
}

TEST_F(MasterServiceTest, ListsPagesInKeyOrder) {
  Start();
  for (const char* key : {"a/3", "b", "a/1", "a/2"}) ASSERT_OK(Put(key, "v"));
  v1::ListObjectsRequest request;
  request.set_prefix("a/");
  request.set_limit(2);
  v1::ListObjectsResponse page;
  ASSERT_OK(Call(&Stub::ListObjects, request, &page));
  ASSERT_EQ(page.objects_size(), 2);
  EXPECT_EQ(page.objects(0).key(), "a/1");
  EXPECT_EQ(page.objects(1).key(), "a/2");
  EXPECT_TRUE(page.more());
  request.set_start_after("a/2");
  ASSERT_OK(Call(&Stub::ListObjects, request, &page));
  ASSERT_EQ(page.objects_size(), 1);
  EXPECT_EQ(page.objects(0).key(), "a/3");
  EXPECT_FALSE(page.more());
}

TEST_F(MasterServiceTest, AListPageFitsAMessageHoweverLargeTheMetadata) {
  Start();
  const std::string value(kUserMetadataBytesMax - 1, 'm');
  for (int i = 0; i < 1000; ++i) {
    v1::PutInlineRequest put = PutRequest(std::string(1000, 'k') + std::to_string(1000 + i), "");
    put.add_metadata()->set_name("n");
    put.mutable_metadata(0)->set_value(value);
    v1::PutInlineResponse response;
    ASSERT_OK(Call(&Stub::PutInline, put, &response));
  }
  v1::ListObjectsRequest request;
  int seen = 0;
  v1::ListObjectsResponse page;
  do {
    ASSERT_OK(Call(&Stub::ListObjects, request, &page));
    seen += page.objects_size();
    request.set_start_after(page.objects(page.objects_size() - 1).key());
  } while (page.more());
  EXPECT_EQ(seen, 1000);
}

TEST_F(MasterServiceTest, AShardThatNobodyOwnsIsRefusedAndComesBackAsItWas) {
  Start();
  ASSERT_OK(Put("k", "v"));
  const auto configure = [&](uint64_t version, uint32_t owner) {
    absl::Notification applied;
    executor_->Post([&] {
      mlog::Command command;
      command.mutable_apply_configuration()->set_version(version);
      for (uint32_t shard = 0; shard < kShards; ++shard) {
        command.mutable_apply_configuration()->add_shard_owner(shard == ShardOf("k") ? owner : 1);
      }
      proposer_.Propose(command, [&](const absl::StatusOr<mlog::Result>&) { applied.Notify(); });
    });
    applied.WaitForNotification();
  };
  configure(2, 0);
  v1::GetObjectResponse got;
  const absl::Status frozen = Get("k", &got);
  EXPECT_THAT(frozen, HasReason(v1::REASON_WRONG_GROUP));
  EXPECT_EQ(DetailOf(frozen)->config_version(), 2u);
  EXPECT_THAT(Put("k", "w"), HasReason(v1::REASON_WRONG_GROUP));
  v1::BatchRequest batch;
  batch.add_operations()->mutable_get_object()->set_key("k");
  v1::BatchResponse outcomes;
  EXPECT_THAT(Call(&Stub::Batch, batch, &outcomes), HasReason(v1::REASON_WRONG_GROUP));
  configure(3, 1);
  ASSERT_OK(Get("k", &got));
  EXPECT_EQ(got.inline_data(), "v");
  EXPECT_OK(Put("k", "w"));
}

TEST_F(MasterServiceTest, ABatchMixesOperations) {
  Start();
  ASSERT_OK(Put("old", "v"));
  v1::BatchRequest request;
  *request.add_operations()->mutable_put_inline() = PutRequest("new", "w");
  request.add_operations()->mutable_get_object()->set_key("old");
  request.add_operations()->mutable_get_object()->set_key("new");
  v1::BatchResponse response;
  ASSERT_OK(Call(&Stub::Batch, request, &response));
  EXPECT_EQ(response.outcomes(0).put_inline().generation() > 0, true);
  EXPECT_EQ(response.outcomes(1).get_object().inline_data(), "v");
  EXPECT_EQ(response.outcomes(2).get_object().inline_data(), "w");

  request.mutable_operations(0)->mutable_put_inline()->set_key("");
  const absl::Status status = Call(&Stub::Batch, request, &response);
  EXPECT_THAT(status, HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(status.message(), ::testing::HasSubstr("operations[0]"));
}

TEST_F(MasterServiceTest, SessionsEndWhenClosed) {
  Start();
  v1::CloseSessionsRequest close;
  close.add_session_ids(sessions_[ShardOf("k")]);
  close.add_session_ids(uint64_t{77} << 48);  // of no shard of ours
  v1::CloseSessionsResponse closed;
  ASSERT_OK(Call(&Stub::CloseSessions, close, &closed));
  EXPECT_THAT(Put("k", "v"), HasReason(v1::REASON_SESSION_EXPIRED));
}

TEST_F(MasterServiceTest, BadRequestsNameTheField) {
  Start();
  const auto expect = [](const absl::Status& status, const std::string& field) {
    EXPECT_THAT(status, HasReason(v1::REASON_INVALID_ARGUMENT)) << field;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(field));
  };
  v1::PutInlineResponse put_response;
  const auto put = [&](auto change, const std::string& field) {
    v1::PutInlineRequest request = PutRequest("k", "value");
    change(request);
    expect(Call(&Stub::PutInline, request, &put_response), field);
  };
  put([](auto& r) { r.set_key(""); }, "key");
  put([](auto& r) { r.set_key(std::string(1025, 'k')); }, "key");
  put([](auto& r) { r.set_crc32c(7); }, "crc32c");
  put([](auto& r) { r.clear_request(); }, "session_id");
  put([](auto& r) { r.mutable_request()->set_sequence(0); }, "sequence");
  put([](auto& r) { r.mutable_request()->set_first_incomplete(1'000'000); }, "first_incomplete");
  put([](auto& r) { r.mutable_request()->set_session_id(uint64_t{9} << 48 | 1); }, "session_id");
  put([](auto& r) { r.add_metadata()->set_value("v"); }, "metadata");
  put([](auto& r) { r.set_value(std::string(4097, 'v')); }, "inline_bytes");

  v1::ListObjectsRequest list;
  list.set_limit(1001);
  v1::ListObjectsResponse page;
  expect(Call(&Stub::ListObjects, list, &page), "limit");
  v1::OpenSessionsRequest open;
  v1::OpenSessionsResponse opened;
  expect(Call(&Stub::OpenSessions, open, &opened), "shards");
  open.add_shards(kShards);
  expect(Call(&Stub::OpenSessions, open, &opened), "shards");
  v1::BatchResponse batch;
  expect(Call(&Stub::Batch, v1::BatchRequest(), &batch), "operations");
  v1::GetChunksRequest chunks;
  chunks.set_key("k");
  chunks.set_generation(1);
  v1::GetChunksResponse chunk_page;
  expect(Call(&Stub::GetChunks, chunks, &chunk_page), "count");
}

TEST_F(MasterServiceTest, SettingsBoundInlineValues) {
  Start();
  v1::Settings settings = DefaultSettings();
  settings.set_inline_bytes(3);
  service_.SetSettings(settings);
  EXPECT_OK(Put("k", "123"));
  EXPECT_THAT(Put("k", "1234"), HasReason(v1::REASON_INVALID_ARGUMENT));
}

TEST_F(MasterServiceTest, AnotherClusterIsRefusedEverywhere) {
  Start();
  v1::GetObjectRequest request;
  request.set_key("k");
  v1::GetObjectResponse response;
  const std::string other = "00000000-0000-4000-8000-0000000000bb";
  EXPECT_THAT(Call(&Stub::GetObject, request, &response, other),
              HasReason(v1::REASON_WRONG_CLUSTER));
  v1::GetGroupStatusResponse status;
  EXPECT_THAT(Call(&Stub::GetGroupStatus, v1::GetGroupStatusRequest(), &status, other),
              HasReason(v1::REASON_WRONG_CLUSTER));
  v1::PutInlineResponse put;
  EXPECT_THAT(Call(&Stub::PutInline, PutRequest("k", "v"), &put, other),
              HasReason(v1::REASON_WRONG_CLUSTER));
}

TEST_F(MasterServiceTest, BeforeTheLogItIsNotReadyAndWithoutShardsTheWrongGroup) {
  v1::GetObjectResponse got;
  EXPECT_THAT(Get("k", &got), HasReason(v1::REASON_NOT_READY));
  v1::GetGroupStatusResponse group;
  EXPECT_THAT(Call(&Stub::GetGroupStatus, v1::GetGroupStatusRequest(), &group),
              HasReason(v1::REASON_NOT_READY));
  Start(/*configured=*/false);
  EXPECT_THAT(Get("k", &got), HasReason(v1::REASON_WRONG_GROUP));
  v1::OpenSessionsRequest open;
  open.add_shards(0);
  v1::OpenSessionsResponse opened;
  EXPECT_THAT(Call(&Stub::OpenSessions, open, &opened), HasReason(v1::REASON_WRONG_GROUP));
  v1::BatchRequest batch;
  batch.add_operations()->mutable_get_object()->set_key("k");
  v1::BatchResponse outcomes;
  EXPECT_THAT(Call(&Stub::Batch, batch, &outcomes), HasReason(v1::REASON_WRONG_GROUP));
  Configure();
  EXPECT_THAT(Get("k", &got), HasReason(v1::REASON_OBJECT_NOT_FOUND));
}

TEST_F(MasterServiceTest, AFollowerNamesTheLeader) {
  Start();
  OnExecutor([this] { log_->SetRole(ReplicatedLog::Role::kFollower, NodeId(2)); });
  v1::GetObjectResponse got;
  const absl::Status status = Get("k", &got);
  EXPECT_THAT(status, HasReason(v1::REASON_NOT_LEADER));
  EXPECT_EQ(DetailOf(status)->leader_address(), kOtherLeader);
  EXPECT_THAT(Put("k", "v"), HasReason(v1::REASON_NOT_LEADER));
  v1::ListServersResponse servers;
  EXPECT_THAT(Call(&Stub::ListServers, v1::ListServersRequest(), &servers),
              HasReason(v1::REASON_NOT_LEADER));
  v1::GetGroupStatusResponse group;
  ASSERT_OK(Call(&Stub::GetGroupStatus, v1::GetGroupStatusRequest(), &group));
  EXPECT_FALSE(group.is_leader());
  EXPECT_EQ(group.leader_address(), kOtherLeader);
  OnExecutor([this] { log_->SetRole(ReplicatedLog::Role::kLeader); });
  EXPECT_OK(Put("k", "v"));
}

TEST_F(MasterServiceTest, StatusCountsAndServersAreShown) {
  Start();
  ASSERT_OK(Put("k", "v"));
  v1::GetGroupStatusResponse group;
  ASSERT_OK(Call(&Stub::GetGroupStatus, v1::GetGroupStatusRequest(), &group));
  EXPECT_TRUE(group.is_leader());
  EXPECT_EQ(group.group_id(), 1u);
  EXPECT_EQ(group.node_id(), 1u);
  EXPECT_EQ(group.config_version(), 1u);
  EXPECT_EQ(group.shard_count(), kShards);
  EXPECT_EQ(group.object_count(), 1u);
  EXPECT_EQ(group.session_count(), kShards);
  EXPECT_GT(group.resident_bytes(), 1u << 20);
  EXPECT_GT(group.wal_syncs(), 0u);
  EXPECT_EQ(group.applied_index(), group.committed_index());
  EXPECT_EQ(group.chunks_without_live_replica(), 5u);
  EXPECT_EQ(group.chunks_below_wanted(), 6u);
  v1::ListServersResponse servers;
  ASSERT_OK(Call(&Stub::ListServers, v1::ListServersRequest(), &servers));
  EXPECT_EQ(servers.servers_size(), 3);
}

TEST_F(MasterServiceTest, AComplaintReachesTheView) {
  Start();
  v1::ReportBadReplicaRequest request;
  request.set_handle(5);
  request.set_server_id("server-2");
  request.set_problem(v1::ReportBadReplicaRequest::PROBLEM_CHECKSUM);
  v1::ReportBadReplicaResponse response;
  ASSERT_OK(Call(&Stub::ReportBadReplica, request, &response));
  OnExecutor([this] { EXPECT_THAT(view_.complaints, ElementsAre("0000000000000005 server-2 1")); });
}

TEST_F(MasterServiceTest, CallsInFlightAreAnsweredWhenTheMasterStops) {
  Start();
  OnExecutor([this] {
    proposer_.Attach(nullptr);
    log_.reset();
  });
  EXPECT_THAT(Put("k", "v"), HasReason(v1::REASON_NOT_READY));
}

}  // namespace
}  // namespace ballast::master
