// SPDX-License-Identifier: Apache-2.0
#include "common/raft/wal.h"

#include <memory>
#include <string>
#include <utility>
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

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOk;
using ::ballast::testing::MemFileSystem;
using ::ballast::testing::StatusIs;

constexpr char kFolder[] = "/wal";

LogEntry Entry(uint64_t term, std::string payload) {
  return LogEntry{.term = term,
                  .type = EntryType::kCommand,
                  .payload = std::make_shared<const std::string>(std::move(payload))};
}

WalEntries Entries(uint64_t first, std::vector<LogEntry> entries) {
  return WalEntries{.first = first, .entries = std::move(entries)};
}

std::vector<WalRecord> FirstRecords() {
  return {WalHard{.term = 1, .vote = 0}, Entries(1, {Entry(1, "configuration")})};
}

class WalTest : public ::testing::Test {
 protected:
  WalTest() {
    EXPECT_OK(fs_.CreateDir(kFolder));
    EXPECT_OK(fs_.SyncDir("/"));
  }

  void Create() { ASSERT_OK(Wal::Create(fs_, kFolder, options_, FirstRecords())); }
  absl::StatusOr<std::unique_ptr<Wal>> Open() {
    replay_ = WalReplay();
    return Wal::Open(fs_, kFolder, options_, &replay_);
  }
  std::string Payloads() const {
    std::string all;
    for (uint64_t i = replay_.log().base_index() + 1; i <= replay_.log().last_index(); ++i) {
      absl::StrAppend(&all, all.empty() ? "" : " ", *replay_.log().At(i).payload);
    }
    return all;
  }
  std::vector<std::string> Segments() const {
    std::vector<std::string> names;
    for (const std::string& file : fs_.Files()) {
      if (absl::EndsWith(file, ".log")) {
        names.push_back(file);
      }
    }
    return names;
  }

  MemFileSystem fs_;
  Wal::Options options_{
      .cluster_id = "test-cluster", .group = 7, .salt = 99, .segment_bytes = 4096};
  WalReplay replay_;
};

TEST_F(WalTest, AnEmptyFolderHoldsNoLog) {
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(WalTest, CreatesOnlyOnce) {
  Create();
  EXPECT_THAT(Wal::Create(fs_, kFolder, options_, FirstRecords()),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(WalTest, KeepsWhatWasWritten) {
  Create();
  {
    ASSERT_OK_AND_ASSIGN(auto wal, Open());
    EXPECT_EQ(replay_.term(), 1u);
    EXPECT_EQ(Payloads(), "configuration");
    ASSERT_OK(wal->Write({WalHard{.term = 3, .vote = 2},
                          Entries(2, {Entry(2, "a"), Entry(3, "b"), Entry(3, "c")})}));
    ASSERT_OK(wal->Write({Entries(4, {Entry(3, "C"), Entry(3, "d")})}));
  }
  fs_.Crash(nullptr);
  ASSERT_OK_AND_ASSIGN(auto wal, Open());
  EXPECT_EQ(replay_.term(), 3u);
  EXPECT_EQ(replay_.vote(), 2u);
  EXPECT_EQ(Payloads(), "configuration a b C d");
  EXPECT_EQ(replay_.log().TermAt(2), 2u);
}

TEST_F(WalTest, ManyRecordsShareOneSync) {
  Create();
  ASSERT_OK_AND_ASSIGN(auto wal, Open());
  const uint64_t syncs = wal->syncs();
  std::vector<WalRecord> records;
  for (uint64_t i = 0; i < 20; ++i) {
    records.push_back(Entries(2 + i, {Entry(1, "x")}));
  }
  ASSERT_OK(wal->Write(records));
  EXPECT_EQ(wal->syncs(), syncs + 1);
}

TEST_F(WalTest, RefusesAnotherClustersLog) {
  Create();
  options_.cluster_id = "another";
  EXPECT_THAT(Open(), HasReason(v1::REASON_WRONG_CLUSTER));
  options_.cluster_id = "test-cluster";
  options_.group = 8;
  EXPECT_THAT(Open(), HasReason(v1::REASON_WRONG_CLUSTER));
}

TEST_F(WalTest, RemovesSegmentsThatNobodyNeeds) {
  Create();
  {
    ASSERT_OK_AND_ASSIGN(auto wal, Open());
    for (uint64_t i = 2; i <= 60; ++i) {
      ASSERT_OK(wal->Write({Entries(i, {Entry(1, std::string(300, 'x'))})}));
    }
    const size_t before = wal->segment_count();
    EXPECT_GT(before, 4u);
    ASSERT_OK(wal->Write({WalTrim{.index = 30, .term = 1}}));
    EXPECT_LT(wal->segment_count(), before);
    ASSERT_OK(wal->Write({WalTrim{.index = 60, .term = 1}}));
    EXPECT_EQ(wal->segment_count(), 1u);
    EXPECT_EQ(Segments().size(), 1u);
  }
  ASSERT_OK_AND_ASSIGN(auto wal, Open());
  EXPECT_EQ(replay_.log().base_index(), 60u);
  EXPECT_EQ(replay_.log().base_term(), 1u);
  EXPECT_EQ(replay_.log().last_index(), 60u);
  EXPECT_EQ(replay_.term(), 1u);
}

TEST_F(WalTest, ResetDropsEverythingBefore) {
  Create();
  {
    ASSERT_OK_AND_ASSIGN(auto wal, Open());
    ASSERT_OK(wal->Write({Entries(2, {Entry(1, "a"), Entry(1, "b")})}));
    ASSERT_OK(wal->Write({WalHard{.term = 4}, WalReset{.index = 50, .term = 4}}));
    ASSERT_OK(wal->Write({Entries(51, {Entry(4, "z")})}));
  }
  ASSERT_OK_AND_ASSIGN(auto wal, Open());
  EXPECT_EQ(replay_.log().base_index(), 50u);
  EXPECT_EQ(replay_.log().base_term(), 4u);
  EXPECT_EQ(Payloads(), "z");
}

TEST_F(WalTest, RemovalsThatDidNotBecomeDurableDoNoHarm) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    MemFileSystem fs;
    ASSERT_OK(fs.CreateDir(kFolder));
    ASSERT_OK(fs.SyncDir("/"));
    ASSERT_OK(Wal::Create(fs, kFolder, options_, FirstRecords()));
    Rng rng(seed);
    {
      WalReplay replay;
      ASSERT_OK_AND_ASSIGN(auto wal, Wal::Open(fs, kFolder, options_, &replay));
      for (uint64_t i = 2; i <= 60; ++i) {
        ASSERT_OK(wal->Write({Entries(i, {Entry(1, std::string(300, 'x'))})}));
      }
      fs.FailAfter(2 + rng.Below(12));  // somewhere in the removals
      wal->Write({WalTrim{.index = 50, .term = 1}}).IgnoreError();
    }
    fs.Crash(&rng);
    WalReplay replay;
    ASSERT_OK(Wal::Open(fs, kFolder, options_, &replay));
    EXPECT_EQ(replay.log().last_index(), 60u);
    EXPECT_LE(replay.log().base_index(), 50u);
  }
}

TEST_F(WalTest, ATornTailIsCutOffAndWritingGoesOnBehindIt) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    MemFileSystem fs;
    ASSERT_OK(fs.CreateDir(kFolder));
    ASSERT_OK(fs.SyncDir("/"));
    ASSERT_OK(Wal::Create(fs, kFolder, options_, FirstRecords()));
    Rng rng(seed);
    {
      WalReplay replay;
      ASSERT_OK_AND_ASSIGN(auto wal, Wal::Open(fs, kFolder, options_, &replay));
      ASSERT_OK(wal->Write({Entries(2, {Entry(1, "durable")})}));
      fs.FailSyncs(".log");
      EXPECT_FALSE(wal->Write({Entries(3, {Entry(1, std::string(700, 'a'))}),
                               Entries(4, {Entry(1, std::string(700, 'b'))}),
                               Entries(5, {Entry(1, std::string(700, 'c'))})})
                       .ok());
    }
    fs.Crash(&rng);
    uint64_t last = 0;
    {
      WalReplay replay;
      ASSERT_OK_AND_ASSIGN(auto wal, Wal::Open(fs, kFolder, options_, &replay));
      last = replay.log().last_index();
      ASSERT_GE(last, 2u);
      ASSERT_EQ(*replay.log().At(2).payload, "durable");
      ASSERT_OK(wal->Write({Entries(last + 1, {Entry(1, "next")})}));
    }
    fs.Crash(&rng);
    WalReplay replay;
    ASSERT_OK(Wal::Open(fs, kFolder, options_, &replay));
    ASSERT_EQ(replay.log().last_index(), last + 1);
    EXPECT_EQ(*replay.log().At(last + 1).payload, "next");
  }
}

TEST_F(WalTest, AFailedWriteIsReportedAndFinal) {
  Create();
  ASSERT_OK_AND_ASSIGN(auto wal, Open());
  fs_.FailSyncs(".log");
  EXPECT_THAT(wal->Write({Entries(2, {Entry(1, "a")})}), StatusIs(absl::StatusCode::kDataLoss));
  fs_.FailSyncs("");
  EXPECT_THAT(wal->Write({Entries(2, {Entry(1, "a")})}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(WalTest, AFullDiskIsReported) {
  Create();
  ASSERT_OK_AND_ASSIGN(auto wal, Open());
  fs_.SetSpace(9000);
  absl::Status status;
  for (uint64_t i = 2; i < 40 && status.ok(); ++i) {
    status = wal->Write({Entries(i, {Entry(1, std::string(400, 'x'))})});
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
}

// Every bit of every segment: either the log is refused, or nothing that was acknowledged is
// missing (the last write's records cannot be told from a torn tail, nor padding from anything).
TEST_F(WalTest, AFlippedBitIsNeverReadAsData) {
  Create();
  {
    ASSERT_OK_AND_ASSIGN(auto wal, Open());
    ASSERT_OK(wal->Write({WalHard{.term = 2, .vote = 1}, Entries(2, {Entry(2, "alpha")})}));
    ASSERT_OK(wal->Write({Entries(3, {Entry(2, "beta")})}));
    ASSERT_OK(wal->Write({WalHard{.term = 3, .vote = 3}}));
  }
  const std::vector<std::string> files = Segments();
  ASSERT_EQ(files.size(), 2u);
  int refused = 0;
  for (const std::string& file : files) {
    for (uint64_t byte = 0; byte < 600; ++byte) {
      const int bit = static_cast<int>(byte % 8);
      if (!fs_.FlipBit(file, byte, bit).ok()) {
        break;
      }
      // A copy of the damaged state: opening changes the folder.
      MemFileSystem copy;
      ASSERT_OK(copy.CreateDir(kFolder));
      for (const std::string& name : files) {
        ASSERT_OK_AND_ASSIGN(const std::string content, ReadFile(fs_, name));
        ASSERT_OK(WriteFileAtomically(copy, name, content));
      }
      WalReplay replay;
      const auto wal = Wal::Open(copy, kFolder, options_, &replay);
      if (wal.ok()) {
        ASSERT_EQ(replay.log().last_index(), 3u) << file << " byte " << byte;
        ASSERT_EQ(*replay.log().At(2).payload, "alpha");
        ASSERT_EQ(*replay.log().At(3).payload, "beta");
        ASSERT_GE(replay.term(), 2u);
      } else {
        ++refused;
      }
      ASSERT_OK(fs_.FlipBit(file, byte, bit));
    }
  }
  EXPECT_GT(refused, 400);
}

TEST_F(WalTest, DamageIsNamedWithItsFile) {
  Create();
  {
    ASSERT_OK_AND_ASSIGN(auto wal, Open());
    ASSERT_OK(wal->Write({Entries(2, {Entry(1, "a")})}));
    ASSERT_OK(wal->Write({Entries(3, {Entry(1, "b")})}));
  }
  const std::string file = Segments().back();
  ASSERT_OK(fs_.FlipBit(file, kWalHeaderBytes + 32 + 40 + 40, 3));
  const auto wal = Open();
  ASSERT_THAT(wal, StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_TRUE(absl::StrContains(wal.status().message(), file)) << wal.status();
}

TEST_F(WalTest, AMissingSegmentIsNoticed) {
  Create();
  {
    ASSERT_OK_AND_ASSIGN(auto wal, Open());
    for (uint64_t i = 2; i <= 40; ++i) {
      ASSERT_OK(wal->Write({Entries(i, {Entry(1, std::string(300, 'x'))})}));
    }
  }
  const std::vector<std::string> files = Segments();
  ASSERT_GT(files.size(), 3u);
  ASSERT_OK(fs_.Remove(files[1]));
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(Segments().size(), files.size() - 1) << "a refused log is left as it is";
}

TEST_F(WalTest, EntriesOfALaterTermThanTheLogAreDamage) {
  Create();
  {
    ASSERT_OK_AND_ASSIGN(auto wal, Open());
    ASSERT_OK(wal->Write({Entries(2, {Entry(9, "a")})}));
  }
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(WalTest, StoredDataCannotPoseAsARecord) {
  Create();
  const WalHeader guessed{
      .cluster_id = "test-cluster", .group = 7, .segment = 2, .first_lsn = 3, .salt = 0};
  std::string forged;
  AppendWalRecord(guessed, WalPosition{.lsn = 6, .batch = 6}, WalHard{.term = 50, .vote = 1},
                  &forged);
  {
    ASSERT_OK_AND_ASSIGN(auto wal, Open());
    // Whatever its position in the record, some copy is aligned to 8.
    std::string payload;
    for (int shift = 0; shift < 8; ++shift) {
      absl::StrAppend(&payload, forged, "x");
    }
    ASSERT_OK(wal->Write({Entries(2, {Entry(1, payload)})}));
  }
  ASSERT_OK(fs_.FlipBit(Segments().back(), kWalHeaderBytes + 32 + 40 + 4, 0));  // "torn" entry
  ASSERT_OK(Open());
  EXPECT_EQ(replay_.term(), 1u);
  EXPECT_EQ(Payloads(), "configuration");
}

TEST(WalFormatTest, RecordsSurviveARoundTrip) {
  const WalHeader header{
      .cluster_id = "c", .group = 1, .segment = 1, .first_lsn = 5, .salt = 12345};
  const auto decoded_header = DecodeWalHeader(EncodeWalHeader(header));
  ASSERT_OK(decoded_header);
  EXPECT_EQ(decoded_header->cluster_id, "c");
  EXPECT_EQ(decoded_header->first_lsn, 5u);
  EXPECT_EQ(decoded_header->salt, 12345u);

  std::string bytes;
  AppendWalRecord(header, {.lsn = 5, .batch = 5}, Entries(9, {Entry(2, ""), Entry(3, "abc")}),
                  &bytes);
  EXPECT_EQ(bytes.size() % 8, 0u);
  ASSERT_OK_AND_ASSIGN(const WalFrame frame, DecodeWalFrame(header, bytes));
  EXPECT_EQ(frame.bytes, bytes.size());
  ASSERT_OK_AND_ASSIGN(const WalRecord record, DecodeWalRecord(frame));
  const auto& entries = std::get<WalEntries>(record);
  EXPECT_EQ(entries.first, 9u);
  ASSERT_EQ(entries.entries.size(), 2u);
  EXPECT_EQ(*entries.entries[1].payload, "abc");
  for (size_t cut = 0; cut + 8 < bytes.size(); ++cut) {
    EXPECT_FALSE(DecodeWalFrame(header, bytes.substr(0, cut)).ok()) << cut;
  }
}

TEST(WalFormatTest, TheDocumentsExampleIsWhatIsWritten) {
  const WalHeader header{.cluster_id = "6f1c0c52-7b0e-4d0a-9a53-0d2b1f7c8e11",
                         .group = 7,
                         .segment = 1,
                         .first_lsn = 1,
                         .salt = 0x1122334455667788};
  std::string bytes = EncodeWalHeader(header);
  AppendWalRecord(header, {.lsn = 1, .batch = 1}, WalBase{}, &bytes);
  AppendWalRecord(header, {.lsn = 2, .batch = 1}, WalHard{.term = 3, .vote = 2}, &bytes);
  LogEntry configuration = Entry(1, "cfg");
  configuration.type = EntryType::kChange;
  AppendWalRecord(header, {.lsn = 3, .batch = 1}, Entries(1, {configuration, Entry(3, "hello")}),
                  &bytes);
  EXPECT_EQ(testing::HexDump(bytes), testing::HexExample("docs/formats/raft_storage.md", "wal"));
}

}  // namespace
}  // namespace ballast
