// SPDX-License-Identifier: Apache-2.0
#include "client/object_copier.h"

#include <atomic>
#include <thread>

#include "client/byte_pipe.h"
#include "common/types/error.h"
#include "tests/unit/client/client_fixture.h"

namespace ballast::client {
namespace {

class ObjectCopierTest : public ClientTest {
 protected:
  absl::StatusOr<CopyResult> Copy(const std::string& source, const std::string& target,
                                  const CopyOptions& copy = {}) {
    ObjectCopier copier(metadata_, reader_, writer_);
    return copier.Copy(source, target, copy, 4096);
  }
  void ExpectNothingStored(const std::string& key) {
    EXPECT_FALSE(master_.Find(key).has_value());
    EXPECT_EQ(master_.open_drafts(), 0u);
  }
};

TEST_F(ObjectCopierTest, EverySizeIsCopiedWithItsMetadata) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{4096}, uint64_t{4097}, KiB(64),
                              KiB(128), KiB(128) + 1, KiB(128) * 9 + 17}) {
    const std::string bytes = RandomBytes(size, size);
    PutOptions put;
    put.metadata = {{"kind", "test"}, {"a", ""}};
    ASSERT_OK_AND_ASSIGN(const PutResult stored, Put("a", bytes, put));
    ASSERT_OK_AND_ASSIGN(const CopyResult copied, Copy("a", "b"));
    EXPECT_EQ(copied.source_generation, stored.generation);
    EXPECT_EQ(copied.put.size_bytes, size);
    EXPECT_EQ(copied.put.crc32c, ComputeCrc32c(bytes));
    EXPECT_EQ(copied.put.chunk_count, size <= 4096 ? 0 : CeilDiv(size, KiB(128)));
    EXPECT_EQ(*Get("b"), bytes) << size;
    const auto object = master_.Find("b");
    ASSERT_EQ(object->object().metadata_size(), 2);
    EXPECT_EQ(object->object().metadata(0).name(), "kind");
    EXPECT_EQ(object->object().metadata(0).value(), "test");
    EXPECT_EQ(object->object().metadata(1).name(), "a");
  }
  EXPECT_EQ(master_.open_drafts(), 0u);
}

TEST_F(ObjectCopierTest, OptionsAreTheTargets) {
  ASSERT_OK(Put("a", RandomBytes(KiB(300))));
  Progress progress;
  CopyOptions copy;
  copy.replicas = 2;
  copy.if_generation_match = 0;
  copy.progress = &progress;
  ASSERT_OK(Copy("a", "b", copy));
  EXPECT_EQ(master_.Find("b")->object().wanted_replicas(), 2u);
  EXPECT_EQ(progress.bytes_done, KiB(300));
  EXPECT_EQ(progress.bytes_total, KiB(300));
  EXPECT_THAT(Copy("a", "b", copy), HasReason(v1::REASON_GENERATION_MISMATCH));
  copy.if_generation_match = master_.Find("b")->object().generation();
  EXPECT_OK(Copy("a", "b", copy));
}

TEST_F(ObjectCopierTest, RefusesWhatCannotBeCopied) {
  EXPECT_THAT(Copy("missing", "b"), HasReason(v1::REASON_OBJECT_NOT_FOUND));
  ASSERT_OK(Put("a", "value"));
  const auto onto_itself = Copy("a", "a");
  EXPECT_THAT(onto_itself, HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_NE(onto_itself.status().message().find("onto itself"), std::string::npos);
  EXPECT_THAT(Copy("a", ""), HasReason(v1::REASON_INVALID_ARGUMENT));
  ExpectNothingStored("b");
}

TEST_F(ObjectCopierTest, ASourceReplacedJustBeforeItIsReadIsCopiedAnew) {
  PutOptions old_metadata;
  old_metadata.metadata = {{"version", "old"}};
  ASSERT_OK(Put("a", RandomBytes(KiB(300), 1), old_metadata));
  const std::string fresh = RandomBytes(KiB(200), 2);
  PutOptions new_metadata;
  new_metadata.metadata = {{"version", "new"}};
  std::atomic<bool> raced{false};
  master_.OnCall("GetObject", [&] {
    if (!raced.exchange(true)) {
      ASSERT_OK(Put("a", fresh, new_metadata));
    }
  });
  ASSERT_OK_AND_ASSIGN(const CopyResult copied, Copy("a", "b"));
  EXPECT_EQ(copied.source_generation, master_.Find("a")->object().generation());
  EXPECT_EQ(*Get("b"), fresh);
  EXPECT_EQ(master_.Find("b")->object().metadata(0).value(), "new");
  EXPECT_EQ(master_.open_drafts(), 0u);
}

TEST_F(ObjectCopierTest, ASourceThatIsReplacedAgainAndAgainEndsTheCopy) {
  ASSERT_OK(Put("a", "0"));
  std::atomic<int> times{0};
  master_.OnCall("GetObject", [&] { ASSERT_OK(Put("a", absl::StrCat(++times))); });
  EXPECT_THAT(Copy("a", "b"), HasReason(v1::REASON_GENERATION_GONE));
  EXPECT_EQ(times, 3);
  ExpectNothingStored("b");
}

TEST_F(ObjectCopierTest, ASourceThatIsReplacedWhileItIsReadIsCopiedToItsEnd) {
  const std::string bytes = RandomBytes(KiB(128) * 6, 1);
  ASSERT_OK(Put("a", bytes));
  std::atomic<int> reads{0};
  chunks_.OnRead([&] {
    if (++reads == 2) {
      ASSERT_OK(Put("a", "other"));
    }
  });
  ASSERT_OK(Copy("a", "b"));
  EXPECT_EQ(*Get("b"), bytes);
}

TEST_F(ObjectCopierTest, AReadThatFailsLeavesNothingAndIsTheError) {
  ASSERT_OK(Put("a", RandomBytes(KiB(128) * 6, 1)));
  std::atomic<int> reads{0};
  chunks_.OnRead([&] {
    if (++reads == 3) {
      for (const char* id : {"s1", "s2", "s3", "s4"}) {
        chunks_.Set(id, [](FakeChunks::Faults& faults) { faults.corrupt = true; });
      }
    }
  });
  EXPECT_THAT(Copy("a", "b"), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  ExpectNothingStored("b");
}

TEST_F(ObjectCopierTest, AWriteThatFailsEndsTheReading) {
  ASSERT_OK(Put("a", RandomBytes(KiB(128) * 20, 1)));
  master_.SetReplicas(5, 5);
  EXPECT_THAT(Copy("a", "b"), HasReason(v1::REASON_TOO_FEW_SERVERS));
  ExpectNothingStored("b");
}

TEST_F(ObjectCopierTest, CancellationEndsBothSides) {
  ASSERT_OK(Put("a", RandomBytes(KiB(128) * 20, 1)));
  Cancellation cancel;
  std::atomic<int> reads{0};
  chunks_.OnRead([&] {
    if (++reads == 4) cancel.Cancel();
  });
  CopyOptions copy;
  copy.cancel = &cancel;
  EXPECT_THAT(Copy("a", "b", copy), StatusIs(absl::StatusCode::kCancelled));
  ExpectNothingStored("b");
}

// --- the pipe
// ---------------------------------------------------------------------------------

class BytePipeTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::string> Read(size_t bytes) {
    std::string out(bytes, '\0');
    const auto n = pipe_.source().ReadAt(0, out.data(), bytes, stop_);
    if (!n.ok()) return n.status();
    out.resize(*n);
    return out;
  }
  static absl::Status Unchanged() { return absl::AbortedError("checked"); }

  BytePipe pipe_{7, Unchanged};
  Cancellation stop_;
};

TEST_F(BytePipeTest, ReadsAreFilledFromSeveralWritesAndEndAtTheEnd) {
  std::thread writer([this] {
    EXPECT_OK(pipe_.sink().WriteAt(0, "abc"));
    EXPECT_OK(pipe_.sink().WriteAt(3, ""));
    EXPECT_OK(pipe_.sink().WriteAt(3, "defg"));
    EXPECT_OK(pipe_.sink().Finish());
  });
  EXPECT_EQ(*Read(5), "abcde");
  EXPECT_EQ(*Read(5), "fg");
  EXPECT_EQ(*Read(5), "");
  writer.join();
  EXPECT_FALSE(pipe_.sink().unordered());
  EXPECT_FALSE(pipe_.source().rereadable());
  EXPECT_EQ(pipe_.source().size_bytes(), 7u);
  EXPECT_EQ(pipe_.source().CheckUnchanged().code(), absl::StatusCode::kAborted);
}

TEST_F(BytePipeTest, AnUnfinishedWriterIsNoEnd) {
  std::thread writer([this] {
    EXPECT_OK(pipe_.sink().WriteAt(0, "abc"));
    pipe_.Fail(absl::DataLossError("wrong bytes"));
    pipe_.Fail(absl::UnknownError("later"));
  });
  EXPECT_EQ(Read(5).status().code(), absl::StatusCode::kDataLoss);
  writer.join();
}

TEST_F(BytePipeTest, AWriterWhoseReaderHasGoneStops) {
  std::thread writer(
      [this] { EXPECT_EQ(pipe_.sink().WriteAt(0, "abc").code(), absl::StatusCode::kCancelled); });
  EXPECT_EQ(*Read(1), "a");
  pipe_.CloseSource();
  writer.join();
  EXPECT_EQ(pipe_.sink().WriteAt(3, "d").code(), absl::StatusCode::kCancelled);
}

TEST_F(BytePipeTest, AReaderThatIsCancelledStopsWaiting) {
  stop_.Cancel();
  EXPECT_EQ(Read(1).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace ballast::client
