// SPDX-License-Identifier: Apache-2.0
#include "client/object_reader.h"

#include <algorithm>
#include <map>

#include "common/types/error.h"
#include "tests/unit/client/client_fixture.h"

namespace ballast::client {
namespace {

// An unordered sink in memory, as a file is one.
class ArraySink final : public Sink {
 public:
  explicit ArraySink(size_t bytes) : bytes_(bytes, '\0') {}
  bool unordered() const override { return true; }
  absl::Status WriteAt(uint64_t offset, absl::string_view bytes) override {
    absl::MutexLock lock(&mu_);
    std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    return absl::OkStatus();
  }
  absl::Status Finish() override {
    finished_ = true;
    return absl::OkStatus();
  }
  const std::string& bytes() const { return bytes_; }
  bool finished() const { return finished_; }

 private:
  absl::Mutex mu_;
  std::string bytes_;
  bool finished_ = false;
};

class ObjectReaderTest : public ClientTest {
 protected:
  // Nine chunks and a bit, over three pages of the chunk list, on s1, s2, s3.
  ObjectReaderTest() : bytes_(RandomBytes(KiB(128) * 9 + 777)) { EXPECT_OK(Put("k", bytes_)); }

  // Reads into both kinds of sink and expects the whole object.
  void ExpectReadable() {
    const auto ordered = Get("k");
    ASSERT_OK(ordered);
    EXPECT_TRUE(*ordered == bytes_);
    ArraySink sink(bytes_.size());
    ASSERT_OK(reader_.Get("k", sink, {}));
    EXPECT_TRUE(sink.finished());
    EXPECT_TRUE(sink.bytes() == bytes_);
  }

  bool Reported(const std::string& server, v1::ReportBadReplicaRequest::Problem problem) {
    const auto reports = master_.reports();
    return std::any_of(reports.begin(), reports.end(), [&](const auto& report) {
      return report.server_id() == server && report.problem() == problem;
    });
  }

  const std::string bytes_;
};

TEST_F(ObjectReaderTest, ReadsTheWholeObjectIntoEitherKindOfSink) { ExpectReadable(); }

TEST_F(ObjectReaderTest, ReadsExactlyTheRangeAskedFor) {
  const uint64_t chunk = KiB(128);
  for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, KiB(64) - 1, KiB(64), chunk - 1, chunk,
                                5 * chunk + 77, bytes_.size() - 1}) {
    for (const uint64_t length :
         {uint64_t{0}, uint64_t{1}, KiB(64), chunk + 1, 3 * chunk, uint64_t{1} << 40}) {
      GetOptions get;
      get.offset_bytes = offset;
      get.length_bytes = length;
      const auto read = Get("k", get);
      ASSERT_OK(read);
      EXPECT_TRUE(*read == bytes_.substr(offset, length)) << offset << " " << length;
      ArraySink sink(std::min<uint64_t>(length, bytes_.size() - offset));
      ASSERT_OK_AND_ASSIGN(const GetResult result, reader_.Get("k", sink, get));
      EXPECT_EQ(result.delivered_bytes, sink.bytes().size());
      EXPECT_TRUE(sink.bytes() == bytes_.substr(offset, length)) << offset << " " << length;
    }
  }
}

TEST_F(ObjectReaderTest, ARangePastTheEndIsRefused) {
  GetOptions get;
  get.offset_bytes = bytes_.size();
  EXPECT_THAT(Get("k", get), HasReason(v1::REASON_OUT_OF_RANGE));
  ASSERT_OK(Put("small", "12345"));
  get.offset_bytes = 5;
  EXPECT_THAT(Get("small", get), HasReason(v1::REASON_OUT_OF_RANGE));
  get.offset_bytes = 2;
  get.length_bytes = 2;
  EXPECT_EQ(*Get("small", get), "34");
  ASSERT_OK(Put("empty", ""));
  EXPECT_EQ(*Get("empty"), "");
}

TEST_F(ObjectReaderTest, MissingObjectsAreNotFound) {
  EXPECT_THAT(Get("nothing"), HasReason(v1::REASON_OBJECT_NOT_FOUND));
}

// --- which replica ---------------------------------------------------------------------------

TEST_F(ObjectReaderTest, EveryReaderAsksTheReplicaThatTheMasterNamesFirst) {
  for (int i = 0; i < 5; ++i) {
    ExpectReadable();
  }
  for (const ChunkReadRequest& read : chunks_.reads()) {
    EXPECT_EQ(read.replica.server_id(), "s1");
  }
}

TEST_F(ObjectReaderTest, ReadersWhoSpreadAskAllReplicasAboutEquallyOften) {
  GetOptions get;
  get.replica_choice = ReplicaChoice::kRandom;
  for (int i = 0; i < 30; ++i) {
    const auto read = Get("k", get);
    ASSERT_OK(read);
    EXPECT_TRUE(*read == bytes_);
  }
  std::map<std::string, int> reads;  // 30 * 19 pieces
  for (const ChunkReadRequest& read : chunks_.reads()) {
    ++reads[read.replica.server_id()];
  }
  ASSERT_EQ(reads.size(), 3u);
  for (const auto& [server, count] : reads) {
    EXPECT_GT(count, 130) << server;  // of 190, more than 5 standard deviations below
  }
}

TEST_F(ObjectReaderTest, ReadersWhoSpreadLeaveAReplicaThatFails) {
  chunks_.Set("s2", [](auto& f) { f.down = true; });
  GetOptions get;
  get.replica_choice = ReplicaChoice::kRandom;
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(*Get("k", get) == bytes_);
  }
  int asked = 0;
  for (const ChunkReadRequest& read : chunks_.reads()) {
    asked += read.replica.server_id() == "s2" ? 1 : 0;
  }
  EXPECT_GE(asked, 1);
  EXPECT_LE(asked, options_.gets_in_flight);  // then it has failed lately
}

// --- replicas that fail ----------------------------------------------------------------------

TEST_F(ObjectReaderTest, AServerKilledInMidReadIsReplacedWhereItStopped) {
  chunks_.Set("s1", [](auto& f) { f.dies_in_read_after = KiB(64); });
  ArraySink sink(bytes_.size());
  ASSERT_OK(reader_.Get("k", sink, {}));
  EXPECT_TRUE(sink.bytes() == bytes_);
  EXPECT_TRUE(Reported("s1", v1::ReportBadReplicaRequest::PROBLEM_UNREACHABLE));
  bool resumed = false;
  for (const ChunkReadRequest& read : chunks_.reads()) {
    resumed |= read.replica.server_id() == "s2" && read.offset_bytes == KiB(64);
  }
  EXPECT_TRUE(resumed);
}

TEST_F(ObjectReaderTest, ASlowReplicaIsLeftAndThenAskedLast) {
  chunks_.Set("s1", [](auto& f) { f.stalls_in_read_after = 0; });
  ExpectReadable();
  int first_asked = 0;
  for (const ChunkReadRequest& read : chunks_.reads()) {
    first_asked += read.replica.server_id() == "s1" ? 1 : 0;
  }
  EXPECT_LE(first_asked, options_.gets_in_flight);
}

TEST_F(ObjectReaderTest, ACorruptReplicaIsReportedAndAnotherOneRead) {
  chunks_.Set("s1", [](auto& f) { f.corrupt = true; });
  ExpectReadable();
  EXPECT_TRUE(Reported("s1", v1::ReportBadReplicaRequest::PROBLEM_CHECKSUM));
}

TEST_F(ObjectReaderTest, AMissingReplicaIsReportedAndAnotherOneRead) {
  chunks_.Set("s1", [](auto& f) { f.missing = true; });
  ExpectReadable();
  EXPECT_TRUE(Reported("s1", v1::ReportBadReplicaRequest::PROBLEM_MISSING));
}

TEST_F(ObjectReaderTest, AReplicaThatEndsEarlyIsReportedAndCompletedElsewhere) {
  chunks_.Set("s1", [](auto& f) { f.too_short = true; });
  ExpectReadable();
  EXPECT_TRUE(Reported("s1", v1::ReportBadReplicaRequest::PROBLEM_CHECKSUM));
}

TEST_F(ObjectReaderTest, WrongBytesWithFittingBlockChecksumsAreReadAnewForFiles) {
  chunks_.Set("s1", [](auto& f) { f.wrong_bytes = true; });
  ArraySink sink(bytes_.size());
  ASSERT_OK(reader_.Get("k", sink, {}));
  EXPECT_TRUE(sink.bytes() == bytes_);
  EXPECT_TRUE(Reported("s1", v1::ReportBadReplicaRequest::PROBLEM_CHECKSUM));
}

TEST_F(ObjectReaderTest, WrongBytesWithFittingBlockChecksumsFailForPipes) {
  chunks_.Set("s1", [](auto& f) { f.wrong_bytes = true; });
  EXPECT_THAT(Get("k"), HasReason(v1::REASON_CHECKSUM_MISMATCH));
}

TEST_F(ObjectReaderTest, EveryReplicaCorruptIsDataLossSoon) {
  for (const char* id : {"s1", "s2", "s3"}) {
    chunks_.Set(id, [](auto& f) { f.corrupt = true; });
  }
  EXPECT_THAT(Get("k"), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_LE(pacer_.waited(), absl::Seconds(5));
}

TEST_F(ObjectReaderTest, AllReplicasDownIsUnavailableAfterAWhile) {
  for (const char* id : {"s1", "s2", "s3"}) {
    chunks_.Set(id, [](auto& f) { f.down = true; });
  }
  ArraySink sink(bytes_.size());
  EXPECT_THAT(reader_.Get("k", sink, {}), HasReason(v1::REASON_CHUNK_UNAVAILABLE));
  EXPECT_FALSE(sink.finished());
  EXPECT_GE(pacer_.waited(), absl::Seconds(60));
}

TEST_F(ObjectReaderTest, AChunkWithoutLiveReplicasIsWaitedFor) {
  for (const char* id : {"s1", "s2", "s3"}) {
    chunks_.Set(id, [](auto& f) { f.down = true; });
  }
  std::atomic<int> refetches{0};
  master_.OnCall("GetChunks", [&] {
    if (++refetches >= 6) {
      chunks_.Set("s3", [](auto& f) { f.down = false; });
    }
  });
  ExpectReadable();
}

TEST_F(ObjectReaderTest, ReplicasTheMasterDoesNotNameAreNotAsked) {
  master_.HideServer("s1");
  ExpectReadable();
  for (const ChunkReadRequest& read : chunks_.reads()) {
    EXPECT_NE(read.replica.server_id(), "s1");
  }
}

// --- generations -----------------------------------------------------------------------------

TEST_F(ObjectReaderTest, AReaderKeepsItsGenerationDuringTheGrace) {
  std::atomic<bool> replaced{false};
  chunks_.OnRead([&] {
    if (!replaced.exchange(true)) {
      ASSERT_OK(Put("k", RandomBytes(KiB(600), 2)));
    }
  });
  EXPECT_TRUE(*Get("k") == bytes_);
}

TEST_F(ObjectReaderTest, AReaderThatOutlivesTheGraceIsAborted) {
  std::atomic<bool> replaced{false};
  chunks_.OnRead([&] {
    if (!replaced.exchange(true)) {
      ASSERT_OK(Put("k", RandomBytes(KiB(600), 2)));
      master_.EndGrace("k");
    }
  });
  std::string out;
  const auto sink = MakeStringSink(&out, uint64_t{1} << 30);
  const auto result = reader_.Get("k", *sink, {});
  EXPECT_THAT(result, HasReason(v1::REASON_GENERATION_GONE));
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kAborted));
  EXPECT_TRUE(out == bytes_.substr(0, out.size()));
}

TEST_F(ObjectReaderTest, AReaderOfAnObjectThatWasRemovedIsAborted) {
  std::atomic<bool> removed{false};
  chunks_.OnRead([&] {
    if (!removed.exchange(true)) {
      v1::DeleteObjectRequest request;
      request.set_key("k");
      ASSERT_OK(metadata_.Delete(request, {}));
      master_.EndGrace("k");
    }
  });
  EXPECT_THAT(Get("k"), HasReason(v1::REASON_GENERATION_GONE));
}

// --- sinks, masters, cancellation ------------------------------------------------------------

TEST_F(ObjectReaderTest, AnErrorOfTheSinkEndsTheRead) {
  int writes = 0;
  const auto sink = MakeCallbackSink([&](absl::string_view) {
    return ++writes == 3 ? absl::ResourceExhaustedError("disk full") : absl::OkStatus();
  });
  EXPECT_EQ(reader_.Get("k", *sink, {}).status(), absl::ResourceExhaustedError("disk full"));
  EXPECT_EQ(writes, 3);
}

TEST_F(ObjectReaderTest, OrderedSinksBoundWhatIsHeld) {
  // The sink takes nothing until as many reads have begun as ever may without it.
  const size_t before = chunks_.reads().size();
  size_t begun_max = 0;
  uint64_t taken = 0;
  const auto sink = MakeCallbackSink([&](absl::string_view bytes) {
    begun_max = std::max(begun_max, chunks_.reads().size() - before - taken);
    ++taken;
    EXPECT_LE(bytes.size(), options_.ordered_piece_bytes);
    return absl::OkStatus();
  });
  ASSERT_OK(reader_.Get("k", *sink, {}));
  EXPECT_LE(begun_max, static_cast<size_t>(options_.gets_in_flight) + 1);
}

TEST_F(ObjectReaderTest, AChunkListThatDoesNotAddUpIsRefused) {
  master_.Inject("GetObject", {absl::OkStatus(), false});  // an empty answer
  GetOptions get;
  get.offset_bytes = 1;
  EXPECT_FALSE(Get("k", get).ok());
}

TEST_F(ObjectReaderTest, TheLeaderMayChangeInMidRead) {
  std::atomic<int> calls{0};
  master_.OnCall("GetChunks", [&] { master_.SetLeader(++calls % 4 < 2 ? "m1:1" : "m3:1"); });
  ExpectReadable();
}

TEST_F(ObjectReaderTest, CancellationEndsTheRead) {
  Cancellation cancel;
  GetOptions get;
  get.cancel = &cancel;
  chunks_.OnRead([&] { cancel.Cancel(); });
  EXPECT_THAT(Get("k", get), StatusIs(absl::StatusCode::kCancelled));
  ArraySink sink(bytes_.size());
  EXPECT_THAT(reader_.Get("k", sink, get), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_FALSE(sink.finished());
}

TEST_F(ObjectReaderTest, ProgressEndsAtTheLengthAlsoAfterRetries) {
  chunks_.Set("s1", [](auto& f) { f.wrong_bytes = true; });
  Progress progress;
  GetOptions get;
  get.progress = &progress;
  ArraySink sink(bytes_.size());
  ASSERT_OK(reader_.Get("k", sink, get));
  EXPECT_EQ(progress.bytes_done, bytes_.size());
  EXPECT_EQ(progress.bytes_total, bytes_.size());
}

}  // namespace
}  // namespace ballast::client
