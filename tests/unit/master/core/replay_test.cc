// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "gtest/gtest.h"
#include "services/master/core/image_records.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/machine_fixture.h"
#include "tests/unit/master/core/random_entries.h"

// Images: whatever mixture of images a snapshot holds, replay ends in the same bytes; and no bytes,
// however wrong, do harm.

namespace ballast::master {
namespace {

constexpr uint32_t kShards = 8;
constexpr uint64_t kEntries = 1200;

struct History {
  explicit History(uint64_t seed) {
    Rng rng(seed);
    MasterMachine machine(GroupId(1), kShards);
    RandomEntries random(rng, machine);
    for (uint64_t i = 0; i < kEntries; ++i) {
      commands.push_back(random.Next().SerializeAsString());
      const uint64_t served = machine.Count().shards;
      results.push_back(machine.Apply(IndexOf(i), commands.back()));
      freezes += machine.Count().shards < served;
      thaws += served > 0 && machine.Count().shards > served;
    }
    names = machine.ImageNames();
    images = ImagesOf(machine);
  }
  // Indexes with gaps, as a real log has them.
  static RaftIndex IndexOf(uint64_t i) { return RaftIndex(i + i / 7 + 1); }
  static std::map<std::string, std::string> ImagesOf(const MasterMachine& machine) {
    std::map<std::string, std::string> images;
    for (const std::string& name : machine.ImageNames()) images[name] = machine.TakeImage(name);
    return images;
  }
  std::vector<std::string> commands;
  std::vector<std::string> results;
  std::vector<std::string> names;
  std::map<std::string, std::string> images;
  int freezes = 0;
  int thaws = 0;
};

TEST(ReplayTest, TwoMachinesWithTheSameLogHaveTheSameBytes) {
  const History history(1);
  MasterMachine again(GroupId(1), kShards);
  for (uint64_t i = 0; i < kEntries; ++i) {
    EXPECT_EQ(again.Apply(History::IndexOf(i), history.commands[i]), history.results[i]);
  }
  EXPECT_EQ(History::ImagesOf(again), history.images);
  // The random history means something: objects, drafts, doomed chunks, sessions, late shards.
  EXPECT_GT(again.Count().objects, 3u);
  EXPECT_GT(again.Count().chunks, 3u);
  EXPECT_GT(again.Count().sessions, 3u);
  EXPECT_GE(again.Count().shards, 2u);
  EXPECT_GT(history.freezes, 3);
  EXPECT_GT(history.thaws, 3);
}

TEST(ReplayTest, ImagesOfDifferentIndexesReplayToTheSameBytes) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    const History history(seed);
    Rng rng(seed * 1000);
    // A snapshot: begun at `start`, one image after another, entries applied in between.
    MasterMachine source(GroupId(1), kShards);
    const uint64_t start = rng.Below(kEntries);
    uint64_t at = 0;
    for (; at < start; ++at) source.Apply(History::IndexOf(at), history.commands[at]);
    std::vector<std::string> names = source.ImageNames();
    for (size_t i = names.size(); i > 1; --i) std::swap(names[i - 1], names[rng.Below(i)]);
    std::vector<std::pair<std::string, std::string>> snapshot;
    for (const std::string& name : names) {
      for (uint64_t n = rng.OneIn(3) ? rng.Below(150) : 0; n > 0 && at < kEntries; --n, ++at) {
        source.Apply(History::IndexOf(at), history.commands[at]);
      }
      snapshot.emplace_back(name, source.TakeImage(name));
    }
    if (rng.OneIn(2)) std::reverse(snapshot.begin(), snapshot.end());

    MasterMachine restored(GroupId(1), kShards);
    for (const auto& [name, image] : snapshot) ASSERT_OK(restored.RestoreImage(name, image));
    for (const auto& [name, image] : snapshot) {
      ASSERT_EQ(restored.TakeImage(name), image) << "re-export of " << name;
    }
    for (uint64_t i = start; i < kEntries; ++i) {
      const std::string result = restored.Apply(History::IndexOf(i), history.commands[i]);
      ASSERT_TRUE(result.empty() || result == history.results[i]);
      if (i >= at) {
        ASSERT_EQ(result, history.results[i]) << "nothing is skipped from here on";
      }
      if (rng.OneIn(200)) {  // an image taken in mid-replay is as good as any
        const std::string name = restored.ImageNames()[rng.Below(restored.ImageNames().size())];
        ASSERT_OK(MasterMachine(GroupId(1), kShards).RestoreImage(name, restored.TakeImage(name)));
      }
    }
    ASSERT_EQ(History::ImagesOf(restored), history.images);

    restored.Reset();
    ASSERT_EQ(restored.ImageNames(), std::vector<std::string>{"group"});
    for (uint64_t i = 0; i < kEntries; ++i) {
      ASSERT_EQ(restored.Apply(History::IndexOf(i), history.commands[i]), history.results[i]);
    }
    ASSERT_EQ(History::ImagesOf(restored), history.images);
  }
}

TEST(ReplayTest, AConfigurationThatWasRefusedStaysRefusedBeforeALaterGroupImage) {
  TestMachine source(2, /*owned=*/false);
  ASSERT_EQ(source.Apply(Configuration(1, {1, 2})).code(), 0u);
  MasterMachine restored(GroupId(1), 2);
  ASSERT_OK(restored.RestoreImage("shard-00000", source.machine.TakeImage("shard-00000")));
  mlog::Entry refused;
  *refused.add_commands() = Configuration(2, {1, 1});
  EXPECT_NE(source.Apply(refused).at(0).code(), 0u);
  ASSERT_EQ(source.Apply(Configuration(2, {1, 3})).code(), 0u);
  ASSERT_OK(restored.RestoreImage("group", source.machine.TakeImage("group")));
  EXPECT_EQ(restored.Apply(RaftIndex(2), refused.SerializeAsString()), "");
  EXPECT_EQ(restored.FindShard(ShardId(1)), nullptr);
}

TEST(ReplayTest, AShardKeepsItsOwnGroupTimeThroughAnImage) {
  TestMachine source;
  source.now_ms = 5000;
  const uint64_t draft = source.Begin("k", 1).draft_id();
  TestMachine restored(1, /*owned=*/false);
  for (const std::string& name : source.machine.ImageNames()) {
    ASSERT_OK(restored.machine.RestoreImage(name, source.machine.TakeImage(name)));
  }
  restored.last_index = source.last_index;
  restored.session = source.session;
  restored.sequence = source.sequence;
  restored.now_ms = 10;
  ASSERT_EQ(restored.Allocate(draft, 1).code(), 0u);
  EXPECT_EQ(restored.shard().drafts().Find(DraftId(draft))->renewed_ms, 5000u);
}

TEST(ImageTest, DamagedImagesAreRefusedAndChangeNothing) {
  const History history(7);
  MasterMachine victim(GroupId(1), kShards);
  for (const auto& [name, image] : history.images) ASSERT_OK(victim.RestoreImage(name, image));
  const uint64_t seed = 99;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  Rng rng(seed);
  for (const auto& [name, image] : history.images) {
    for (int round = 0; round < 200; ++round) {
      std::string bad = image;
      switch (rng.Below(4)) {
        case 0:
          bad.resize(rng.Below(bad.size()));
          break;
        case 1:
          bad[rng.Below(bad.size())] ^= static_cast<char>(1 << rng.Below(8));
          break;
        case 2:
          bad.append(1 + rng.Below(20), static_cast<char>(rng.Next()));
          break;
        default: {
          const size_t from = rng.Below(bad.size());
          bad.erase(from, 1 + rng.Below(50));
        }
      }
      if (bad == image) continue;
      EXPECT_THAT(victim.RestoreImage(name, bad), testing::StatusIs(absl::StatusCode::kDataLoss));
    }
    EXPECT_EQ(victim.TakeImage(name), image);
  }
  EXPECT_EQ(History::ImagesOf(victim), history.images);
}

// Changes fields under correct checksums: what a checksum cannot see must be seen by the rules. An
// image that is accepted all the same must be consistent: it exports itself again.
TEST(ImageTest, ForgedImagesAreRefusedOrConsistent) {
  const History history(8);
  const uint64_t seed = 100;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  Rng rng(seed);
  int refused = 0;
  for (const auto& [name, image] : history.images) {
    if (name == "group") continue;
    for (int round = 0; round < 400; ++round) {
      ImageReader reader(image);
      std::vector<mlog::ImageRecord> records;
      mlog::ImageRecord record;
      while (*reader.Next(record)) records.push_back(record);
      const size_t at = rng.Below(records.size());
      switch (rng.Below(3)) {
        case 0:  // flip a bit inside
        {
          std::string bytes = records[at].SerializeAsString();
          bytes[rng.Below(bytes.size())] ^= static_cast<char>(1 << rng.Below(8));
          if (!records[at].ParseFromString(bytes) || records[at].has_footer() ||
              records[at].record_case() == mlog::ImageRecord::RECORD_NOT_SET) {
            continue;
          }
          break;
        }
        case 1:
          records.erase(records.begin() + static_cast<int64_t>(at));
          break;
        default:
          records.insert(records.begin() + static_cast<int64_t>(rng.Below(records.size())),
                         records[at]);
      }
      ImageWriter writer;
      for (const mlog::ImageRecord& one : records) writer.Append(one);
      MasterMachine machine(GroupId(1), kShards);
      if (!machine.RestoreImage(name, writer.Finish()).ok()) {
        ++refused;
        EXPECT_EQ(machine.ImageNames().size(), 1u);
        continue;
      }
      const std::string exported = machine.TakeImage(name);
      MasterMachine second(GroupId(1), kShards);
      ASSERT_OK(second.RestoreImage(name, exported));
      EXPECT_EQ(second.TakeImage(name), exported);
      // It can be lived with: everything in it can be deleted.
      uint64_t index = 1'000'000;
      ShardId id(static_cast<uint32_t>(std::stoul(name.substr(6))));
      std::vector<std::string> keys;
      machine.FindShard(id)->objects().Scan("", "", [&](const ObjectRecord& object) {
        keys.emplace_back(object.key());
        return true;
      });
      if (!machine.FindShard(id)->serving()) continue;
      mlog::Entry entry;
      entry.set_stamp_ms(1'000'000'000);
      entry.add_commands()->set_shard(id.value());
      entry.mutable_commands(0)->mutable_remove_doomed()->set_handles_max(1000);
      machine.FindShard(id)->drafts().ForEach([&](const Draft& draft) {
        entry.add_commands()->set_shard(id.value());
        entry.mutable_commands(entry.commands_size() - 1)
            ->mutable_expire_drafts()
            ->add_draft_ids(draft.id.value());
      });
      machine.Apply(RaftIndex(++index), entry.SerializeAsString());
      for (const std::string& key : keys) EXPECT_OK(machine.FindObject(key));
    }
  }
  EXPECT_GT(refused, 500);
}

TEST(ImageTest, AnImageOfAnotherShardGroupOrClusterShapeIsRefused) {
  TestMachine m(4);
  const std::string image = m.machine.TakeImage("shard-00001");
  const auto damaged = testing::StatusIs(absl::StatusCode::kDataLoss);
  EXPECT_THAT(m.machine.RestoreImage("shard-00002", image), damaged);
  EXPECT_THAT(m.machine.RestoreImage("shard-00004", image), damaged);
  EXPECT_THAT(m.machine.RestoreImage("shard-1", image), damaged);
  EXPECT_THAT(m.machine.RestoreImage("group", image), damaged);
  EXPECT_THAT(m.machine.RestoreImage("", image), damaged);
  EXPECT_THAT(m.machine.RestoreImage("shard-00001", ""), damaged);
  const std::string group = m.machine.TakeImage("group");
  EXPECT_THAT(MasterMachine(GroupId(2), 4).RestoreImage("group", group), damaged);
  EXPECT_THAT(MasterMachine(GroupId(1), 5).RestoreImage("group", group), damaged);
  EXPECT_OK(MasterMachine(GroupId(1), 4).RestoreImage("group", group));
}

}  // namespace
}  // namespace ballast::master
