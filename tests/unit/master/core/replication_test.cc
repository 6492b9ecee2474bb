// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/machine_fixture.h"

// SetReplication: how many replicas are wanted of an object and its chunks.

namespace ballast::master {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class SetReplicationTest : public ::testing::Test {
 protected:
  mlog::Command SetCommand(const std::string& key, uint32_t wanted) {
    mlog::Command command = m_.Next();
    command.mutable_set_replication()->set_key(key);
    command.mutable_set_replication()->set_wanted_replicas(wanted);
    return command;
  }
  mlog::Result Set(const std::string& key, uint32_t wanted) {
    return m_.Apply(SetCommand(key, wanted));
  }
  uint32_t WantedOf(const std::string& key) {
    return (*m_.machine.FindObject(key))->wanted_replicas();
  }
  // sequence -> wanted, of all chunks.
  std::map<uint64_t, uint32_t> Chunks() {
    std::map<uint64_t, uint32_t> wanted;
    m_.shard().chunks().ForEach(0, std::numeric_limits<uint64_t>::max(),
                                [&](uint64_t sequence, const ChunkRecord& record) {
                                  wanted[sequence] = record.wanted_replicas();
                                });
    return wanted;
  }

  TestMachine m_;
};

TEST_F(SetReplicationTest, ChangesAnObjectAndItsChunksAndNothingElse) {
  const uint64_t generation = m_.PutChunks("a", {100, 100, 7}).generation();  // sequences 1 to 3
  m_.PutChunks("b", {5});                                                     // 4
  const uint64_t draft = m_.Write("a", {9}).first;                            // 5
  const ChunkRecord before = *m_.machine.FindChunk(m_.Handle(2));
  EXPECT_THAT(Set("a", 5), Succeeded());
  EXPECT_EQ(WantedOf("a"), 5u);
  EXPECT_EQ(WantedOf("b"), 3u);
  EXPECT_THAT(Chunks(), ElementsAre(Pair(1, 5), Pair(2, 5), Pair(3, 5), Pair(4, 3), Pair(5, 3)));
  const ChunkRecord after = *m_.machine.FindChunk(m_.Handle(2));
  EXPECT_EQ(after.length_bytes(), before.length_bytes());
  EXPECT_EQ(after.crc32c(), before.crc32c());
  EXPECT_EQ(after.LoggedServers(), before.LoggedServers());
  EXPECT_EQ((*m_.machine.FindObject("a"))->generation().value(), generation);
  EXPECT_NE(m_.shard().drafts().Find(DraftId(draft)), nullptr);
}

TEST_F(SetReplicationTest, DoomedChunksKeepWhatWasWanted) {
  m_.PutChunks("a", {100});
  m_.PutChunks("a", {200});  // sequence 2; 1 is doomed
  EXPECT_THAT(Set("a", 1), Succeeded());
  EXPECT_THAT(Chunks(), ElementsAre(Pair(1, 3), Pair(2, 1)));
}

TEST_F(SetReplicationTest, LiveFlagsStay) {
  m_.PutChunks("a", {100});
  m_.machine.FindLive(m_.Handle(1))
      ->SetLiveFlags(ServerIndex(9), ChunkRecord::kLive | ChunkRecord::kVerified);
  EXPECT_THAT(Set("a", 2), Succeeded());
  EXPECT_EQ(m_.machine.FindChunk(m_.Handle(1))->FlagsOf(ServerIndex(9)),
            ChunkRecord::kLive | ChunkRecord::kVerified);
}

TEST_F(SetReplicationTest, ALaterGenerationHasItsOwnNumber) {
  m_.PutChunks("a", {100});
  EXPECT_THAT(Set("a", 5), Succeeded());
  m_.PutChunks("a", {100});
  EXPECT_EQ(WantedOf("a"), 3u);
}

TEST_F(SetReplicationTest, AnObjectOfNoChunksHasANumberToo) {
  const mlog::Result begun = m_.Begin("a", 0);
  ASSERT_THAT(m_.Apply(m_.CommitCommand("a", begun.draft_id(), {})), Succeeded());
  EXPECT_THAT(Set("a", 4), Succeeded());
  EXPECT_EQ(WantedOf("a"), 4u);
}

TEST_F(SetReplicationTest, RefusesWhatItCannotDoAndChangesNothing) {
  m_.PutChunks("a", {100});
  m_.Put("inline", "v");
  const struct {
    std::string key;
    uint32_t wanted;
    v1::Reason reason;
  } cases[] = {{"missing", 2, v1::REASON_OBJECT_NOT_FOUND},
               {"inline", 2, v1::REASON_OBJECT_INLINE},
               {"a", 0, v1::REASON_INVALID_ARGUMENT},
               {"a", 6, v1::REASON_INVALID_ARGUMENT},
               {"a", std::numeric_limits<uint32_t>::max(), v1::REASON_INVALID_ARGUMENT},
               {"", 2, v1::REASON_INVALID_ARGUMENT}};
  for (const auto& one : cases) {
    EXPECT_THAT(Set(one.key, one.wanted), RefusedFor(one.reason)) << one.key << one.wanted;
  }
  mlog::Command anonymous = SetCommand("a", 2);
  anonymous.clear_request();
  EXPECT_THAT(m_.Apply(anonymous), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  EXPECT_EQ(WantedOf("a"), 3u);
  EXPECT_THAT(Chunks(), ElementsAre(Pair(1, 3)));
}

TEST_F(SetReplicationTest, ARetryDoesNotTurnALaterChangeBack) {
  m_.PutChunks("a", {100});
  mlog::Command first = SetCommand("a", 5);
  mlog::Command second = SetCommand("a", 2);
  second.mutable_request()->set_first_incomplete(first.request().sequence());
  EXPECT_THAT(m_.Apply(first), Succeeded());
  EXPECT_THAT(m_.Apply(second), Succeeded());
  EXPECT_THAT(m_.Apply(first), Succeeded());
  EXPECT_EQ(WantedOf("a"), 2u);
}

TEST_F(SetReplicationTest, ImagesAndRestoresKeepIt) {
  m_.PutChunks("a", {100, 100, 7});
  EXPECT_THAT(Set("a", 5), Succeeded());
  MasterMachine other(GroupId(1), 1);
  for (const std::string& name : m_.machine.ImageNames()) {
    ASSERT_OK(other.RestoreImage(name, m_.machine.TakeImage(name)));
    EXPECT_EQ(other.TakeImage(name), m_.machine.TakeImage(name)) << name;
  }
  EXPECT_EQ((*other.FindObject("a"))->wanted_replicas(), 5u);
  EXPECT_EQ(other.FindChunk(m_.Handle(3))->wanted_replicas(), 5u);
}

}  // namespace
}  // namespace ballast::master
