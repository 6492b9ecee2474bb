// SPDX-License-Identifier: Apache-2.0
#include "common/raft/snapshot_store.h"

#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "gtest/gtest.h"
#include "tests/support/hex_example.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ::ballast::testing::MemFileSystem;
using ::ballast::testing::StatusIs;

constexpr char kFolder[] = "/snapshot";

class SnapshotStoreTest : public ::testing::Test {
 protected:
  SnapshotStoreTest() {
    EXPECT_OK(fs_.CreateDir(kFolder));
    EXPECT_OK(fs_.SyncDir("/"));
  }
  static SnapshotStore Store(MemFileSystem& fs) {
    return SnapshotStore(fs, kFolder, {"c", 1, "voters"});
  }
  static absl::Status Write(MemFileSystem& fs, SnapshotId id,
                            const std::map<std::string, std::string>& images) {
    SnapshotStore store = Store(fs);
    std::vector<SnapshotFile> files;
    for (const auto& [name, bytes] : images) {
      auto file = store.WriteImage(id, name, bytes);
      if (!file.ok()) {
        return file.status();
      }
      files.push_back(*file);
    }
    return store.CommitSnapshot(id, files).status();
  }

  MemFileSystem fs_;
};

TEST_F(SnapshotStoreTest, FindsTheNewest) {
  ASSERT_OK_AND_ASSIGN(auto none, Store(fs_).FindNewest());
  EXPECT_FALSE(none.newest.has_value());
  ASSERT_OK(Write(fs_, {10, 1}, {{"group", "g10"}, {"shard-1", "s10"}}));
  ASSERT_OK(Write(fs_, {20, 2}, {{"group", "g20"}, {"shard-1", "s20"}}));
  fs_.Crash(nullptr);
  SnapshotStore store = Store(fs_);
  ASSERT_OK_AND_ASSIGN(auto found, store.FindNewest());
  ASSERT_TRUE(found.newest.has_value());
  EXPECT_EQ(found.newest->id, (SnapshotId{20, 2}));
  EXPECT_TRUE(found.unusable.empty());
  ASSERT_EQ(found.newest->files.size(), 2u);
  ASSERT_OK_AND_ASSIGN(const std::string image, store.ReadImage({20, 2}, found.newest->files[1]));
  EXPECT_EQ(image, "s20");
}

TEST_F(SnapshotStoreTest, SkipsDamagedAndForeignOnesAndSaysSo) {
  ASSERT_OK(Write(fs_, {10, 1}, {{"group", "g10"}}));
  ASSERT_OK(Write(fs_, {20, 1}, {{"group", "g20"}}));
  ASSERT_OK(Write(fs_, {30, 1}, {{"group", "g30"}}));
  SnapshotStore foreign(fs_, kFolder, {"other", 1, "voters"});
  ASSERT_OK(foreign.CommitSnapshot({40, 1}, {}));
  SnapshotStore larger(fs_, kFolder, {"c", 1, "more voters"});
  ASSERT_OK(larger.CommitSnapshot({50, 1}, {}));
  for (const std::string& file : fs_.Files()) {
    if (absl::StrContains(file, "image-000000000000001e") ||
        absl::StrContains(file, "manifest-0000000000000014")) {
      ASSERT_OK(fs_.FlipBit(file, 1, 1));
    }
  }
  ASSERT_OK_AND_ASSIGN(auto found, Store(fs_).FindNewest());
  ASSERT_TRUE(found.newest.has_value());
  EXPECT_EQ(found.newest->id.index, 10u);
  EXPECT_EQ(found.unusable.size(), 4u);
}

TEST_F(SnapshotStoreTest, RemovesOnlyWhatIsNotKept) {
  ASSERT_OK(Write(fs_, {10, 1}, {{"group", "g"}}));
  ASSERT_OK(Write(fs_, {20, 1}, {{"group", "g"}}));
  SnapshotStore store = Store(fs_);
  ASSERT_OK(store.WriteImage({30, 1}, "group", "never committed"));
  ASSERT_OK(store.RemoveAllBut({{20, 1}}));
  EXPECT_EQ(fs_.Files().size(), 2u);
  ASSERT_OK_AND_ASSIGN(auto found, store.FindNewest());
  EXPECT_EQ(found.newest->id.index, 20u);
}

TEST_F(SnapshotStoreTest, RefusesNamesThatCouldLeaveTheFolder) {
  SnapshotStore store = Store(fs_);
  for (const char* name : {"", "../x", "a/b", "A", "x.y"}) {
    EXPECT_THAT(store.WriteImage({1, 1}, name, "x"), StatusIs(absl::StatusCode::kInvalidArgument));
  }
  ASSERT_OK(Write(fs_, {10, 1}, {{"group", "g"}}));
  EXPECT_THAT(store.ReadPage({10, 1}, "../../etc/passwd", 0, 10),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(SnapshotStoreTest, GivesPagesOfWholeSnapshotsOnly) {
  SnapshotStore store = Store(fs_);
  ASSERT_OK(store.WriteImage({10, 1}, "group", "0123456789"));
  EXPECT_THAT(store.ReadPage({10, 1}, "group", 0, 4), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(Write(fs_, {10, 1}, {{"group", "0123456789"}}));
  ASSERT_OK_AND_ASSIGN(auto page, store.ReadPage({10, 1}, "group", 8, 4));
  EXPECT_EQ(page.data, "89");
  EXPECT_EQ(page.file_bytes, 10u);
  ASSERT_OK_AND_ASSIGN(auto manifest, store.ReadPage({10, 1}, "", 0, 4096));
  ASSERT_OK(DecodeManifest(manifest.data));
}

// At every operation of writing snapshot 20 over snapshot 10: afterwards one of them is whole.
TEST_F(SnapshotStoreTest, ACrashAnywhereLeavesAWholeSnapshot) {
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE(absl::StrCat("crash at operation ", n));
    MemFileSystem fs;
    ASSERT_OK(fs.CreateDir(kFolder));
    ASSERT_OK(fs.SyncDir("/"));
    ASSERT_OK(Write(fs, {10, 1}, {{"group", "g10"}, {"shard-1", "s10"}}));
    fs.FailAfter(n);
    bool done = Write(fs, {20, 1}, {{"group", "g20"}, {"shard-1", "s20"}}).ok();
    done = done && Store(fs).RemoveAllBut({{20, 1}}).ok();
    Rng rng(n);
    fs.Crash(&rng);
    ASSERT_OK_AND_ASSIGN(auto found, Store(fs).FindNewest());
    ASSERT_TRUE(found.newest.has_value());
    EXPECT_TRUE(found.unusable.empty()) << found.unusable[0];
    if (done) {
      EXPECT_EQ(found.newest->id.index, 20u);
      break;
    }
  }
}

TEST(ManifestTest, EveryDamagedByteIsNoticed) {
  const SnapshotManifest manifest{.id = {7, 3},
                                  .cluster_id = "c",
                                  .group = 2,
                                  .configuration = "voters",
                                  .files = {{.name = "a", .bytes = 1, .crc = Crc32c{5}},
                                            {.name = "b", .bytes = 2, .crc = Crc32c{6}}}};
  const std::string bytes = EncodeManifest(manifest);
  ASSERT_OK_AND_ASSIGN(auto decoded, DecodeManifest(bytes));
  EXPECT_EQ(decoded.files[1].name, "b");
  EXPECT_EQ(EncodeManifest(decoded), bytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_FALSE(DecodeManifest(damaged).ok()) << i;
    EXPECT_FALSE(DecodeManifest(bytes.substr(0, i)).ok()) << i;
  }
}

TEST(ManifestTest, TheDocumentsExampleIsWhatIsWritten) {
  const SnapshotManifest manifest{
      .id = {5, 3},
      .cluster_id = "6f1c0c52-7b0e-4d0a-9a53-0d2b1f7c8e11",
      .group = 7,
      .configuration = "cfg",
      .files = {{.name = "group", .bytes = 2, .crc = ComputeCrc32c("{}")}}};
  EXPECT_EQ(testing::HexDump(EncodeManifest(manifest)),
            testing::HexExample("docs/formats/raft_storage.md", "manifest"));
}

}  // namespace
}  // namespace ballast
