// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/machine_fixture.h"

// Shards that nobody owns any more: frozen, kept, and served again when they come back.

namespace ballast::master {
namespace {

using ::testing::ElementsAre;
using testing::HasReason;

// Told of replaced shards only.
class Replacements final : public ChunkObserver {
 public:
  explicit Replacements(const MasterMachine& observed) : machine(observed) {}
  void OnChunkAdded(ChunkHandle, ChunkRecord&) override {}
  void OnLocationsChanged(ChunkHandle, ChunkRecord&) override {}
  void OnTrimsChanged(ChunkHandle) override {}
  void OnChunkRemoved(ChunkHandle, const ChunkRecord&) override {}
  void OnShardReplaced(ShardId shard) override {
    replaced.push_back(shard.value());
    machine.ForEachShard([this](const Shard& one) { served += one.serving() ? 1 : 0; });
  }
  const MasterMachine& machine;
  std::vector<uint32_t> replaced;
  int served = 0;  // shards, at all of these moments
};

// One shard's way through configurations: the owner in each, then what must be true of it here.
TEST(FrozenTest, EveryStepOfAShardsOwnershipHasItsState) {
  const auto none = mlog::SHARD_STATE_NONE;
  const auto owned = mlog::SHARD_STATE_OWNED;
  const auto frozen = mlog::SHARD_STATE_FROZEN;
  struct Step {
    uint32_t owner;
    v1::Reason refused;  // UNSPECIFIED: accepted
    mlog::ShardState state;
    uint64_t acquired;
  };
  const auto ok = v1::REASON_UNSPECIFIED;
  const auto later = v1::REASON_NOT_SUPPORTED_YET;
  const auto wrong = v1::REASON_INVALID_ARGUMENT;
  const std::vector<std::vector<Step>> ways = {
      {{1, ok, owned, 1}, {0, ok, frozen, 1}, {0, ok, frozen, 1}, {1, ok, owned, 4}},
      {{0, ok, none, 0}, {0, ok, none, 0}, {1, ok, owned, 3}, {0, ok, frozen, 3}},
      {{1, ok, owned, 1}, {0, ok, frozen, 1}, {1, ok, owned, 3}, {0, ok, frozen, 3}},
      {{1, ok, owned, 1}, {2, later, owned, 1}, {0, ok, frozen, 1}, {2, ok, frozen, 1}},
      {{0, ok, none, 0}, {2, ok, none, 0}, {0, wrong, none, 0}, {1, later, none, 0}},
      {{1, ok, owned, 1},
       {0, ok, frozen, 1},
       {2, ok, frozen, 1},
       {1, later, frozen, 1},
       {0, wrong, frozen, 1},
       {3, ok, frozen, 1}}};
  for (size_t way = 0; way < ways.size(); ++way) {
    TestMachine m(1, /*owned=*/false);
    for (size_t i = 0; i < ways[way].size(); ++i) {
      SCOPED_TRACE(::testing::Message() << "way " << way << " step " << i);
      const Step& step = ways[way][i];
      const mlog::Result result =
          m.Apply(Configuration(m.machine.config_version().value() + 1, {step.owner}));
      EXPECT_EQ(result.reason(), static_cast<uint32_t>(step.refused)) << result.text();
      const Shard* const shard = m.machine.FindShard(ShardId(0));
      EXPECT_EQ(shard == nullptr ? none : shard->state(), step.state);
      EXPECT_EQ(shard == nullptr ? 0 : shard->acquired_version().value(), step.acquired);
      EXPECT_EQ(m.machine.Serving(ShardId(0)).ok(), step.state == owned);
    }
  }
}

TEST(FrozenTest, AFrozenShardServesNothing) {
  TestMachine m;
  m.PutChunks("k", {100});
  const uint64_t draft = m.Begin("d", 1).draft_id();
  ASSERT_THAT(m.Apply(Configuration(2, {0})), Succeeded());
  const mlog::Result put = m.Put("k", "v");
  EXPECT_THAT(put, RefusedFor(v1::REASON_WRONG_GROUP));
  EXPECT_EQ(put.config_version(), 2u);
  EXPECT_THAT(m.Delete("k"), RefusedFor(v1::REASON_WRONG_GROUP));
  EXPECT_THAT(m.Seal(draft, {{2, 0, 5, 5}}), RefusedFor(v1::REASON_WRONG_GROUP));
  mlog::Command expire;  // the leader's own
  expire.mutable_expire_drafts()->add_draft_ids(draft);
  m.now_ms += TestMachine::kExpiryMs;
  EXPECT_THAT(m.Apply(expire), RefusedFor(v1::REASON_WRONG_GROUP));
  EXPECT_THAT(m.machine.FindObject("k"), HasReason(v1::REASON_WRONG_GROUP));
  EXPECT_THAT(m.machine.FindChunks("k", Generation(1), 0, 1), HasReason(v1::REASON_WRONG_GROUP));
  EXPECT_TRUE(m.machine.List("", "", 10).objects.empty());
  EXPECT_EQ(m.machine.Count().shards, 0u);
}

TEST(FrozenTest, NothingOfAFrozenShardIsGarbage) {
  TestMachine m;
  m.PutChunks("k", {100});
  m.Begin("d", 1);
  const uint64_t gone = m.Begin("gone", 1).draft_id();  // sequence 3
  mlog::Command abort = m.Next();
  abort.mutable_abort_write()->set_draft_id(gone);
  m.Apply(abort);
  ASSERT_TRUE(m.machine.IsProvableGarbage(m.Handle(3)));
  ASSERT_THAT(m.Apply(Configuration(2, {0})), Succeeded());
  for (uint64_t sequence = 0; sequence < 6; ++sequence) {
    EXPECT_FALSE(m.machine.IsProvableGarbage(m.Handle(sequence))) << sequence;
  }
  ASSERT_THAT(m.Apply(Configuration(3, {1})), Succeeded());
  EXPECT_TRUE(m.machine.IsProvableGarbage(m.Handle(3)));
}

TEST(FrozenTest, WhatComesBackIsAsItWas) {
  TestMachine m;
  m.PutChunks("k", {100, 7});
  m.Put("v", "value");
  const mlog::Result begun = m.Begin("d", 2);
  const mlog::Command put = m.PutCommand("v", "again");
  const mlog::Result first = m.Apply(put);
  ASSERT_THAT(m.Apply(Configuration(2, {0})), Succeeded());
  ASSERT_THAT(m.Apply(Configuration(3, {1})), Succeeded());
  EXPECT_EQ((*m.machine.FindObject("k"))->size_bytes(), 107u);
  EXPECT_EQ((*m.machine.FindObject("v"))->inline_data(), "again");
  EXPECT_EQ(m.Apply(put).SerializeAsString(), first.SerializeAsString())
      << "requests of before are remembered";
  EXPECT_THAT(m.Seal(begun.draft_id(), {{3, 0, 100, 5}}), Succeeded());
  EXPECT_EQ(m.Begin("e", 1).allocated().first_sequence(), 5u) << "no handle is given out twice";
  EXPECT_EQ(m.shard().acquired_version(), ConfigVersion(3)) << "commands of before are out of date";
}

TEST(FrozenTest, OthersShardsAreNotTouched) {
  TestMachine m(3);
  m.Put(KeyIn(0, 3), "v");
  ASSERT_THAT(m.Apply(Configuration(2, {1, 0, 1})), Succeeded());
  EXPECT_TRUE(m.machine.FindObject(KeyIn(0, 3)).ok());
  EXPECT_THAT(m.machine.FindObject(KeyIn(1, 3)), HasReason(v1::REASON_WRONG_GROUP));
  EXPECT_EQ(m.shard(0).acquired_version(), ConfigVersion(1));
  EXPECT_EQ(m.machine.Count().shards, 2u);
}

TEST(FrozenTest, TheLiveViewIsToldWhenAShardComesIsFrozenAndThawed) {
  TestMachine m(3, /*owned=*/false);
  Replacements observer(m.machine);
  m.machine.SetObserver(&observer);
  ASSERT_THAT(m.Apply(Configuration(1, {1, 1, 0})), Succeeded());
  EXPECT_THAT(observer.replaced, ElementsAre(0, 1)) << "servers may have spoken of them before";
  EXPECT_EQ(std::exchange(observer.served, 0), 4) << "told when the whole configuration holds";
  ASSERT_THAT(m.Apply(Configuration(2, {0, 0, 0})), Succeeded());
  EXPECT_THAT(observer.replaced, ElementsAre(0, 1, 0, 1));
  EXPECT_EQ(observer.served, 0);
  ASSERT_THAT(m.Apply(Configuration(3, {0, 0, 0})), Succeeded());
  EXPECT_THAT(observer.replaced, ElementsAre(0, 1, 0, 1));
  ASSERT_THAT(m.Apply(Configuration(4, {1, 0, 1})), Succeeded());
  EXPECT_THAT(observer.replaced, ElementsAre(0, 1, 0, 1, 0, 2));
  EXPECT_EQ(observer.served, 4);
  m.machine.SetObserver(nullptr);
}

TEST(FrozenTest, ImagesOfAFrozenShardComeBackFrozenAndWhole) {
  TestMachine m;
  m.PutChunks("k", {100, 7});
  m.Put("v", "value");
  ASSERT_THAT(m.Apply(Configuration(2, {0})), Succeeded());
  MasterMachine other(GroupId(1), 1);
  for (const std::string& name : m.machine.ImageNames()) {
    ASSERT_OK(other.RestoreImage(name, m.machine.TakeImage(name)));
    EXPECT_EQ(other.TakeImage(name), m.machine.TakeImage(name)) << name;
  }
  EXPECT_EQ(other.FindShard(ShardId(0))->state(), mlog::SHARD_STATE_FROZEN);
  EXPECT_EQ(other.FindShard(ShardId(0))->objects().size(), 2u);
  mlog::Entry entry;
  *entry.add_commands() = Configuration(3, {1});
  other.Apply(RaftIndex(m.last_index + 1), entry.SerializeAsString());
  EXPECT_EQ((*other.FindObject("v"))->inline_data(), "value");
}

// Freezing, thawing and writes between; every pair of (group image, shard image) taken at different
// places replays to the same bytes.
TEST(FrozenTest, AnyMixOfImagesReplaysAlike) {
  TestMachine m;
  std::vector<std::string> entries;
  std::vector<std::map<std::string, std::string>> images;  // after each entry
  const auto step = [&](const mlog::Command& command) {
    mlog::Entry entry;
    entry.set_stamp_ms(++m.now_ms);
    *entry.add_commands() = command;
    entries.push_back(entry.SerializeAsString());
    m.machine.Apply(RaftIndex(++m.last_index), entries.back());
    auto& taken = images.emplace_back();
    for (const std::string& name : m.machine.ImageNames()) taken[name] = m.machine.TakeImage(name);
  };
  m.Put("before", "v");  // opens the session
  const uint64_t first = m.last_index + 1;
  step(m.PutCommand("a", "1"));
  step(Configuration(2, {0}));
  step(m.PutCommand("a", "refused"));
  step(Configuration(3, {0}));
  step(Configuration(4, {1}));
  step(m.PutCommand("b", "2"));
  step(Configuration(5, {0}));
  step(Configuration(7, {1}));  // refused: not the next
  step(Configuration(6, {1}));
  step(m.PutCommand("c", "3"));
  for (size_t group = 0; group < entries.size(); ++group) {
    for (size_t shard = 0; shard < entries.size(); ++shard) {
      SCOPED_TRACE(::testing::Message() << "group after " << group << " shard after " << shard);
      MasterMachine other(GroupId(1), 1);
      ASSERT_OK(other.RestoreImage("group", images[group].at("group")));
      ASSERT_OK(other.RestoreImage("shard-00000", images[shard].at("shard-00000")));
      for (size_t i = std::min(group, shard) + 1; i < entries.size(); ++i) {
        other.Apply(RaftIndex(first + i), entries[i]);
      }
      for (const auto& [name, bytes] : images.back())
        EXPECT_EQ(other.TakeImage(name), bytes) << name;
    }
  }
}

}  // namespace
}  // namespace ballast::master
