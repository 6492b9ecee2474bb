// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/master/core/commands.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/machine_fixture.h"

// The machine as a whole: configurations, routing of commands, group time, listing, observers.

namespace ballast::master {
namespace {

using ::testing::ElementsAre;
using testing::HasReason;
using ::testing::IsEmpty;

std::vector<std::string> KeysOf(const MasterMachine::Page& page) {
  std::vector<std::string> keys;
  for (const ObjectRecord* object : page.objects) keys.emplace_back(object->key());
  return keys;
}

TEST(MachineTest, OwnsNothingBeforeTheFirstConfiguration) {
  TestMachine m(2, /*owned=*/false);
  EXPECT_THAT(m.machine.ImageNames(), ElementsAre("group"));
  mlog::Command open;
  open.mutable_open_session();
  EXPECT_THAT(m.Apply(open), RefusedFor(v1::REASON_WRONG_GROUP));
  EXPECT_THAT(m.machine.FindObject("k"), HasReason(v1::REASON_WRONG_GROUP));
  EXPECT_THAT(m.machine.FindChunks("k", Generation(1), 0, 1), HasReason(v1::REASON_WRONG_GROUP));
}

TEST(MachineTest, TheFirstJoinGivesEmptyShards) {
  TestMachine m(3, /*owned=*/false);
  EXPECT_THAT(m.Apply(Configuration(1, {0, 0, 0})), Succeeded()) << "no group yet";
  EXPECT_EQ(m.machine.FindShard(ShardId(0)), nullptr);
  EXPECT_THAT(m.Apply(Configuration(2, {1, 2, 1})), Succeeded());
  EXPECT_THAT(m.machine.ImageNames(), ElementsAre("group", "shard-00000", "shard-00002"));
  EXPECT_EQ(m.shard(2).acquired_version(), ConfigVersion(2));
  EXPECT_THAT(m.Apply(Configuration(3, {1, 3, 1})), Succeeded()) << "not our shard";
  EXPECT_EQ(m.shard(2).acquired_version(), ConfigVersion(2)) << "owner stays";
  EXPECT_EQ(m.machine.Count().shards, 2u);
}

TEST(MachineTest, ConfigurationsApplyOnlyInOrder) {
  TestMachine m(2);
  for (uint64_t version : {0, 1, 3}) {
    const mlog::Result result = m.Apply(Configuration(version, {1, 1}));
    EXPECT_THAT(result, RefusedFor(v1::REASON_VERSION_MISMATCH));
    EXPECT_EQ(result.config_version(), 1u);
  }
  EXPECT_THAT(m.Apply(Configuration(2, {1, 1, 1})), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  EXPECT_EQ(m.machine.config_version(), ConfigVersion(1));
}

TEST(MachineTest, WhatNeedsAMigrationIsRefusedAndChangesNothing) {
  TestMachine m(2, /*owned=*/false);
  ASSERT_THAT(m.Apply(Configuration(1, {1, 2})), Succeeded());
  const std::string shard = m.machine.TakeImage("shard-00000");
  EXPECT_THAT(m.Apply(Configuration(2, {2, 2})), RefusedFor(v1::REASON_NOT_SUPPORTED_YET));
  EXPECT_THAT(m.Apply(Configuration(2, {1, 1})), RefusedFor(v1::REASON_NOT_SUPPORTED_YET));
  EXPECT_EQ(m.machine.config_version(), ConfigVersion(1));
  EXPECT_TRUE(m.shard(0).serving());
  EXPECT_EQ(m.machine.FindShard(ShardId(1)), nullptr);
  EXPECT_THAT(m.Apply(Configuration(2, {1, 2})), Succeeded());
}

TEST(MachineTest, CommandsForOthersShardsAreWrongGroupAndNotRecorded) {
  TestMachine m(2, /*owned=*/false);
  ASSERT_THAT(m.Apply(Configuration(1, {1, 2})), Succeeded());
  mlog::Command put = m.PutCommand(KeyIn(1, 2), "v");
  put.set_shard(1);
  const mlog::Result result = m.Apply(put);
  EXPECT_THAT(result, RefusedFor(v1::REASON_WRONG_GROUP));
  EXPECT_EQ(result.config_version(), 1u);
  EXPECT_EQ(DetailOf(ToStatus(result))->config_version(), 1u);
  put.set_shard(70000);
  EXPECT_THAT(m.Apply(put), RefusedFor(v1::REASON_WRONG_GROUP));
}

TEST(MachineTest, CommandsOfOneEntryApplyInOrderWithOneOutcomeEach) {
  TestMachine m;
  mlog::Entry entry;
  entry.set_stamp_ms(2000);
  *entry.add_commands() = m.PutCommand("k", "1");
  *entry.add_commands() = m.PutCommand("", "bad");
  *entry.add_commands() = m.PutCommand("k", "2");
  const std::vector<mlog::Result> results = m.Apply(entry);
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[0].generation(), 1u);
  EXPECT_THAT(results[1], RefusedFor(v1::REASON_INVALID_ARGUMENT));
  EXPECT_EQ(results[2].generation(), 2u);
}

TEST(MachineTest, GroupTimeIsTheLargestStamp) {
  TestMachine m;
  m.now_ms = 5000;
  const uint64_t draft = m.Begin("k", 1).draft_id();
  m.now_ms = 10;  // a leader that stamps wrongly cannot turn time back
  m.Allocate(draft, 1);
  EXPECT_EQ(m.machine.group_time_ms(), 5000u);
  EXPECT_EQ(m.shard().drafts().Find(DraftId(draft))->renewed_ms, 5000u);
}

TEST(MachineTest, SessionsExpireByGroupTime) {
  TestMachine m;
  m.Put("k", "1");
  mlog::Command expire;
  expire.mutable_expire_sessions()->add_session_ids(m.session);
  expire.mutable_expire_sessions()->set_idle_ms(1000);
  m.now_ms += 999;
  m.Apply(expire);
  EXPECT_EQ(m.machine.Count().sessions, 1u);
  m.now_ms += 1;
  m.Apply(expire);
  EXPECT_THAT(m.Put("k", "2"), RefusedFor(v1::REASON_SESSION_EXPIRED));
  EXPECT_NE(m.OpenSession(), m.session) << "ids are not used again";
}

TEST(MachineTest, ListsAllShardsInKeyOrderPageByPage) {
  constexpr uint32_t kShards = 8;
  TestMachine m(kShards);
  std::vector<uint64_t> sessions;
  for (uint32_t shard = 0; shard < kShards; ++shard) sessions.push_back(m.OpenSession(shard));
  std::vector<std::string> expected;
  for (int i = 0; i < 100; ++i) {
    const std::string key = absl::StrCat(i % 2 ? "odd/" : "even/", 1000 + i);
    mlog::Command put = m.PutCommand(key, "v");
    const uint32_t shard = m.machine.ShardOf(key).value();
    put.set_shard(shard);
    put.mutable_request()->set_session_id(sessions[shard]);
    ASSERT_THAT(m.Apply(put), Succeeded());
    if (i % 2) expected.push_back(key);
  }
  std::vector<std::string> seen;
  MasterMachine::Page page;
  do {
    page = m.machine.List("odd/", seen.empty() ? "" : seen.back(), 7);
    EXPECT_LE(page.objects.size(), 7u);
    for (const std::string& key : KeysOf(page)) seen.push_back(key);
  } while (page.more);
  EXPECT_EQ(seen, expected);
  EXPECT_THAT(KeysOf(m.machine.List("odd/1099", "", 7)), ElementsAre("odd/1099"));
  EXPECT_FALSE(m.machine.List("odd/1099", "", 1).more);
  EXPECT_THAT(KeysOf(m.machine.List("none", "", 7)), IsEmpty());
  EXPECT_EQ(m.machine.Count().objects, 100u);
}

class Recorder : public ChunkObserver {
 public:
  void OnChunkAdded(ChunkHandle handle, ChunkRecord& record) override {
    log.push_back(absl::StrCat("+", handle.sequence()));
    record.SetLiveFlags(ServerIndex(9), ChunkRecord::kLive);
  }
  void OnLocationsChanged(ChunkHandle handle, ChunkRecord&) override {
    log.push_back(absl::StrCat("~", handle.sequence()));
  }
  void OnTrimsChanged(ChunkHandle handle) override {
    log.push_back(absl::StrCat("trim ", handle.sequence()));
  }
  void OnChunkRemoved(ChunkHandle handle, const ChunkRecord& record) override {
    log.push_back(
        absl::StrCat("-", handle.sequence(), " live ", record.CountWith(ChunkRecord::kLive)));
  }
  void OnShardReplaced(ShardId shard) override {
    log.push_back(absl::StrCat("shard ", shard.value()));
  }
  std::vector<std::string> log;
};

TEST(MachineTest, AnObserverSeesEveryChangeAndItsLiveViewStaysOutOfImages) {
  TestMachine plain;
  TestMachine watched;
  Recorder recorder;
  watched.machine.SetObserver(&recorder);
  for (TestMachine* m : {&plain, &watched}) {
    m->PutChunks("k", {100});
    mlog::Command command;
    auto& change = *command.mutable_update_locations()->add_changes();
    change.set_handle(1);
    change.add_add_servers(7);
    m->Apply(command);
  }
  EXPECT_EQ(watched.machine.FindChunk(watched.Handle(1))->FlagsOf(ServerIndex(9)),
            ChunkRecord::kLive);
  EXPECT_EQ(plain.Images(), watched.Images());
  const std::string image = plain.machine.TakeImage("shard-00000");
  const uint64_t draft = watched.Write("other", {5}).first;
  mlog::Command abort = watched.Next();
  abort.mutable_abort_write()->set_draft_id(draft);
  watched.Apply(abort);
  ASSERT_OK(watched.machine.RestoreImage("shard-00000", image));
  EXPECT_THAT(recorder.log, ElementsAre("+1", "~1", "+2", "-2 live 1", "shard 0"));
}

TEST(CommandsTest, TheFingerprintIsThatOfTheOperationAlone) {
  v1::BeginWriteRequest request;
  request.mutable_request()->set_session_id(1);
  request.mutable_request()->set_sequence(7);
  request.set_key("k");
  request.set_chunk_count(4);
  CommandContext context;
  const auto fingerprint = [&] {
    return ToCommand(ShardId(0), request, 3, 2, context).request().fingerprint();
  };
  const uint32_t first = fingerprint();
  request.mutable_request()->set_first_incomplete(3);
  request.add_avoid_server_ids("x");
  request.set_chunk_bytes(9);
  context.draft_expiry_ms = 5;
  EXPECT_EQ(fingerprint(), first) << "another try of the same request";
  request.set_chunk_count(5);
  EXPECT_NE(fingerprint(), first);

  v1::DeleteObjectRequest removal;
  removal.set_key("k");
  v1::PutInlineRequest put;
  put.set_key("k");
  EXPECT_NE(ToCommand(ShardId(0), removal, context).request().fingerprint(),
            ToCommand(ShardId(0), put, context).request().fingerprint());
}

TEST(CommandsTest, ACommandCarriesAllOfACommit) {
  v1::CommitObjectRequest request;
  request.mutable_request()->set_session_id(4);
  request.mutable_request()->set_sequence(2);
  request.mutable_request()->set_first_incomplete(1);
  request.set_key("k");
  request.set_draft_id(9);
  request.set_size_bytes(10);
  request.set_crc32c(11);
  request.set_chunk_count(12);
  request.mutable_precondition()->set_if_generation_match(0);
  request.add_metadata()->set_name("n");
  const mlog::Command command = ToCommand(ShardId(3), request, {77, 88, 99});
  EXPECT_EQ(command.shard(), 3u);
  EXPECT_EQ(command.request().session_id(), 4u);
  EXPECT_EQ(command.request().sequence(), 2u);
  EXPECT_EQ(command.request().first_incomplete(), 1u);
  const mlog::Command::Commit& op = command.commit();
  EXPECT_EQ(op.key(), "k");
  EXPECT_EQ(op.draft_id(), 9u);
  EXPECT_EQ(op.size_bytes(), 10u);
  EXPECT_EQ(op.crc32c(), 11u);
  EXPECT_EQ(op.chunk_count(), 12u);
  EXPECT_TRUE(op.has_if_generation_match());
  EXPECT_EQ(op.metadata(0).name(), "n");
  EXPECT_EQ(op.modified_unix_ms(), 77u);
  EXPECT_EQ(op.grace_ms(), 88u);
}

}  // namespace
}  // namespace ballast::master
