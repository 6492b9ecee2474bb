// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "common/types/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/machine_fixture.h"

// Small objects, deletion, dooming and its removal, locations.

namespace ballast::master {
namespace {

using ::testing::ElementsAre;
using testing::HasReason;

mlog::Command RemoveDoomed(uint32_t handles_max) {
  mlog::Command command;
  command.mutable_remove_doomed()->set_handles_max(handles_max);
  return command;
}

TEST(ObjectsTest, APutIsFoundAndItsRetryGetsTheSameReply) {
  TestMachine m;
  const mlog::Command put = m.PutCommand("k", "value");
  const mlog::Result first = m.Apply(put);
  EXPECT_THAT(first, Succeeded());
  EXPECT_EQ(m.Apply(put).SerializeAsString(), first.SerializeAsString());
  ASSERT_OK_AND_ASSIGN(const ObjectRecord* object, m.machine.FindObject("k"));
  EXPECT_EQ(object->inline_data(), "value");
  EXPECT_EQ(object->generation().value(), first.generation());
  EXPECT_EQ(m.shard().last_generation(), 1u);
}

TEST(ObjectsTest, GenerationsAreNeverReusedNotEvenAfterADelete) {
  TestMachine m;
  EXPECT_EQ(m.Put("a", "1").generation(), 1u);
  EXPECT_EQ(m.Put("b", "1").generation(), 2u);
  EXPECT_EQ(m.Put("a", "2").generation(), 3u);
  EXPECT_EQ(m.Delete("a").generation(), 3u) << "the one that was removed";
  EXPECT_EQ(m.Put("a", "3").generation(), 4u);
}

TEST(ObjectsTest, PreconditionsCompareAndSet) {
  TestMachine m;
  mlog::Command create = m.PutCommand("k", "1");
  create.mutable_put_inline()->set_if_generation_match(0);
  EXPECT_THAT(m.Apply(create), Succeeded());
  mlog::Command again = m.PutCommand("k", "2");
  again.mutable_put_inline()->set_if_generation_match(0);
  EXPECT_THAT(m.Apply(again), RefusedFor(v1::REASON_GENERATION_MISMATCH));
  mlog::Command swap = m.PutCommand("k", "2");
  swap.mutable_put_inline()->set_if_generation_match(1);
  EXPECT_EQ(m.Apply(swap).generation(), 2u);
  mlog::Command removal = m.Next();
  removal.mutable_delete_object()->set_key("k");
  removal.mutable_delete_object()->set_if_generation_match(1);
  EXPECT_THAT(m.Apply(removal), RefusedFor(v1::REASON_GENERATION_MISMATCH));
  EXPECT_EQ((*m.machine.FindObject("k"))->inline_data(), "2");
}

TEST(ObjectsTest, ARefusedRequestStaysRefusedWhenRetriedLater) {
  TestMachine m;
  mlog::Command put = m.PutCommand("k", "2");
  put.mutable_put_inline()->set_if_generation_match(1);
  EXPECT_THAT(m.Apply(put), RefusedFor(v1::REASON_GENERATION_MISMATCH));
  mlog::Command other = put;  // makes the condition true, from another session
  other.mutable_request()->set_session_id(m.OpenSession());
  other.mutable_request()->set_sequence(1);
  other.mutable_request()->set_first_incomplete(1);
  other.mutable_put_inline()->clear_if_generation_match();
  EXPECT_EQ(m.Apply(other).generation(), 1u);
  EXPECT_THAT(m.Apply(put), RefusedFor(v1::REASON_GENERATION_MISMATCH));
}

TEST(ObjectsTest, BadPutsAreRefusedAtApply) {
  TestMachine m;
  const auto refused = [&m](auto change) {
    mlog::Command command = m.PutCommand("k", "value");
    change(command);
    EXPECT_THAT(m.Apply(command), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  };
  refused([](mlog::Command& c) { c.mutable_put_inline()->set_key(""); });
  refused([](mlog::Command& c) { c.mutable_put_inline()->set_key(std::string(1025, 'k')); });
  refused([](mlog::Command& c) { c.mutable_put_inline()->set_crc32c(1); });
  refused([](mlog::Command& c) {
    const std::string value(kInlineBytesMax + 1, 'v');
    c.mutable_put_inline()->set_value(value);
    c.mutable_put_inline()->set_crc32c(ComputeCrc32c(value).value);
  });
  refused([](mlog::Command& c) {
    for (int i = 0; i < 2; ++i) c.mutable_put_inline()->add_metadata()->set_name("twice");
  });
  refused([](mlog::Command& c) {
    mlog::Metadata& entry = *c.mutable_put_inline()->add_metadata();
    entry.set_name("n");
    entry.set_value(std::string(kUserMetadataBytesMax, 'v'));
  });
  refused([](mlog::Command& c) { c.clear_request(); });
  EXPECT_THAT(m.machine.FindObject("k"), HasReason(v1::REASON_OBJECT_NOT_FOUND));
}

TEST(ObjectsTest, AKeyOfAnotherShardIsRefused) {
  TestMachine m(2);
  mlog::Command put = m.PutCommand(KeyIn(1, 2), "v");  // as a command of shard 0
  EXPECT_THAT(m.Apply(put), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  put = m.PutCommand(KeyIn(1, 2), "v");
  put.set_shard(1);  // with a session of shard 0
  EXPECT_THAT(m.Apply(put), RefusedFor(v1::REASON_INVALID_ARGUMENT));
}

TEST(ObjectsTest, DeletingWhatIsNotThereIsNotFound) {
  TestMachine m;
  EXPECT_THAT(m.Delete("k"), RefusedFor(v1::REASON_OBJECT_NOT_FOUND));
}

TEST(ObjectsTest, AReplacedGenerationStaysReadableUntilItsRemovalIsLogged) {
  TestMachine m;
  const uint64_t old = m.PutChunks("k", {100, 100, 40}).generation();
  EXPECT_THAT(m.Put("k", "small"), Succeeded());
  const auto read = [&] { return m.machine.FindChunks("k", Generation(old), 1, 5); };
  ASSERT_OK(read());
  EXPECT_EQ(read()->size(), 2u);
  EXPECT_EQ((*read())[1].offset_bytes, 200u);
  EXPECT_EQ((*read())[1].record->length_bytes(), 40u);

  m.now_ms += TestMachine::kGraceMs - 1;
  m.Apply(RemoveDoomed(100));
  EXPECT_OK(read());
  m.now_ms += 1;
  EXPECT_TRUE(m.machine.IsReferenced(m.Handle(1))) << "due is not yet removed";
  m.Apply(RemoveDoomed(2));
  EXPECT_THAT(read(), HasReason(v1::REASON_GENERATION_GONE));
  EXPECT_EQ(m.shard().chunks().size(), 1u) << "bounded by handles_max";
  m.Apply(RemoveDoomed(2));
  EXPECT_THAT(read(), HasReason(v1::REASON_GENERATION_GONE));
  EXPECT_EQ(m.shard().chunks().size(), 0u);
  EXPECT_EQ(m.shard().doomed().size(), 0u);
  EXPECT_TRUE(m.machine.IsProvableGarbage(m.Handle(1)));
}

TEST(ObjectsTest, DeleteAndOverwriteDoomChunksOnce) {
  TestMachine m;
  m.PutChunks("k", {100});
  m.PutChunks("k", {100});
  EXPECT_EQ(m.shard().doomed().handle_count(), 1u);
  m.Delete("k");
  EXPECT_EQ(m.shard().doomed().handle_count(), 2u);
  EXPECT_TRUE(m.machine.IsReferenced(m.Handle(1)));
  EXPECT_TRUE(m.machine.IsReferenced(m.Handle(2)));
  EXPECT_FALSE(m.machine.IsReferenced(m.Handle(3)));
  EXPECT_FALSE(m.machine.IsAllocated(m.Handle(3)));
  EXPECT_FALSE(m.machine.IsProvableGarbage(m.Handle(3)));
}

TEST(ObjectsTest, AGenerationThatNeverWasIsNotFound) {
  TestMachine m;
  m.Put("k", "v");
  EXPECT_THAT(m.machine.FindChunks("k", Generation(2), 0, 1),
              HasReason(v1::REASON_OBJECT_NOT_FOUND));
  EXPECT_THAT(m.machine.FindChunks("k", Generation(0), 0, 1),
              HasReason(v1::REASON_OBJECT_NOT_FOUND));
  ASSERT_OK(m.machine.FindChunks("k", Generation(1), 0, 1));
  EXPECT_TRUE(m.machine.FindChunks("k", Generation(1), 0, 1)->empty());
}

TEST(ObjectsTest, LocationsChangeOnlyForChunksThatAreKnown) {
  TestMachine m;
  m.PutChunks("k", {100});
  mlog::Command command;
  for (uint64_t sequence : {1, 2}) {
    auto& change = *command.mutable_update_locations()->add_changes();
    change.set_handle(sequence);
    change.add_drop_servers(1);
    for (uint32_t server : {9u, 0u, 65536u}) change.add_add_servers(server);
  }
  EXPECT_THAT(m.Apply(command), Succeeded());
  EXPECT_THAT(m.machine.FindChunk(m.Handle(1))->LoggedServers(),
              ElementsAre(ServerIndex(2), ServerIndex(3), ServerIndex(9)));
  EXPECT_EQ(m.machine.FindChunk(m.Handle(2)), nullptr);
}

TEST(ObjectsTest, ATrimIsKeptUntilRevokedOrFinishedOrItsChunkGoes) {
  TestMachine m;
  m.PutChunks("k", {100});
  const auto apply = [&m](uint64_t handle, uint32_t server, auto member) {
    mlog::Command command;
    auto& op = *(command.*member)();
    op.set_handle(handle);
    op.set_server_index(server);
    return m.Apply(command);
  };
  EXPECT_THAT(apply(7, 1, &mlog::Command::mutable_trim), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  for (uint32_t server : {1, 2, 3}) apply(1, server, &mlog::Command::mutable_trim);
  apply(1, 1, &mlog::Command::mutable_revoke_trim);
  apply(1, 2, &mlog::Command::mutable_finish_trim);
  EXPECT_FALSE(m.shard().trims().Contains(1, ServerIndex(1)));
  EXPECT_TRUE(m.shard().trims().Contains(1, ServerIndex(3)));
  EXPECT_THAT(m.machine.FindChunk(m.Handle(1))->LoggedServers(),
              ElementsAre(ServerIndex(1), ServerIndex(3)));
  m.Delete("k");
  m.now_ms += TestMachine::kGraceMs;
  m.Apply(RemoveDoomed(1));
  EXPECT_EQ(m.shard().trims().size(), 0u);
}

TEST(ObjectsTest, ATrimKeepsItsNumberThroughAnImage) {
  TestMachine m;
  m.PutChunks("k", {100});
  const auto trim = [&m](uint32_t server, uint32_t keep) {
    mlog::Command command;
    command.mutable_trim()->set_handle(1);
    command.mutable_trim()->set_server_index(server);
    command.mutable_trim()->set_keep_replicas(keep);
    return m.Apply(command);
  };
  EXPECT_THAT(trim(1, 6), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  trim(1, 2);
  trim(1, 5);
  trim(2, 0);
  EXPECT_EQ(m.shard().trims().KeepOf(1, ServerIndex(1)), 2u) << "the first one stands";
  EXPECT_EQ(m.shard().trims().KeepOf(1, ServerIndex(2)), 0u);
  EXPECT_EQ(m.shard().trims().KeepOf(1, ServerIndex(3)), std::nullopt);
  const std::string image = m.machine.TakeImage("shard-00000");
  MasterMachine other(GroupId(1), m.machine.shard_count());
  ASSERT_OK(other.RestoreImage("shard-00000", image));
  EXPECT_EQ(other.FindShard(ShardId(0))->trims().KeepOf(1, ServerIndex(1)), 2u);
  EXPECT_EQ(other.TakeImage("shard-00000"), image);
}

}  // namespace
}  // namespace ballast::master
