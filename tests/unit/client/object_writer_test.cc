// SPDX-License-Identifier: Apache-2.0
#include "client/object_writer.h"

#include <algorithm>
#include <thread>

#include "common/types/error.h"
#include "tests/unit/client/client_fixture.h"

namespace ballast::client {
namespace {

class ObjectWriterTest : public ClientTest {
 protected:
  // What a failed Put must leave: no object, no draft.
  void ExpectNothingStored(const std::string& key) {
    EXPECT_FALSE(master_.Find(key).has_value());
    EXPECT_EQ(master_.open_drafts(), 0u);
  }

  absl::StatusOr<PutResult> PutStream(const std::string& key, const std::string& bytes,
                                      const PutOptions& put = {}) {
    size_t at = 0;
    const auto source = MakeCallbackSource([&](char* out, size_t n) -> absl::StatusOr<size_t> {
      const size_t some = std::min(n, bytes.size() - at);
      std::copy_n(bytes.data() + at, some, out);
      at += some;
      return some;
    });
    return writer_.Put(key, *source, put, 4096);
  }
};

TEST_F(ObjectWriterTest, StoresSmallValuesWithOneCall) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}}) {
    const std::string bytes = RandomBytes(size);
    ASSERT_OK_AND_ASSIGN(const PutResult put, Put("k", bytes));
    EXPECT_EQ(put.size_bytes, size);
    EXPECT_EQ(put.chunk_count, 0u);
    EXPECT_EQ(put.crc32c, ComputeCrc32c(bytes));
    EXPECT_EQ(*Get("k"), bytes);
  }
  EXPECT_EQ(master_.calls("BeginWrite"), 0);
}

TEST_F(ObjectWriterTest, EverySizeAroundAChunkComesBackTheSame) {
  for (const uint64_t size : {uint64_t{4097}, KiB(64) - 1, KiB(64) + 1, KiB(128) - 1, KiB(128),
                              KiB(128) + 1, KiB(128) * 9 + 17}) {
    const std::string bytes = RandomBytes(size, size);
    ASSERT_OK_AND_ASSIGN(const PutResult put, Put("k", bytes));
    EXPECT_EQ(put.size_bytes, size);
    EXPECT_EQ(put.crc32c, ComputeCrc32c(bytes));
    EXPECT_EQ(put.chunk_count, CeilDiv(size, KiB(128)));
    EXPECT_EQ(put.least_replicas, 3u);
    EXPECT_EQ(*Get("k"), bytes) << size;
    ASSERT_OK(PutStream("stream", bytes));
    EXPECT_EQ(*Get("stream"), bytes) << size;
  }
  EXPECT_EQ(master_.open_drafts(), 0u);
}

TEST_F(ObjectWriterTest, KeepsMetadataReplicasAndPreconditions) {
  PutOptions put;
  put.metadata = {{"kind", "test"}, {"owner", "me"}};
  put.replicas = 2;
  put.if_generation_match = 0;
  ASSERT_OK(Put("k", RandomBytes(KiB(300)), put));
  const auto object = master_.Find("k");
  EXPECT_EQ(object->object().metadata(1).value(), "me");
  EXPECT_EQ(object->chunks(0).replicas_size(), 2);
  EXPECT_THAT(Put("k", RandomBytes(KiB(300)), put), HasReason(v1::REASON_GENERATION_MISMATCH));
  EXPECT_THAT(Put("k", "small", put), HasReason(v1::REASON_GENERATION_MISMATCH));
  put.if_generation_match = object->object().generation();
  EXPECT_OK(Put("k", RandomBytes(KiB(300), 2), put));
}

TEST_F(ObjectWriterTest, AConditionThatFailsAtTheCommitStoresNothing) {
  PutOptions put;
  put.if_generation_match = 0;
  std::atomic<bool> raced{false};
  master_.OnCall("CommitObject", [&] {
    if (!raced.exchange(true)) {
      ASSERT_OK(Put("k", "somebody else"));
    }
  });
  EXPECT_THAT(Put("k", RandomBytes(KiB(200)), put), HasReason(v1::REASON_GENERATION_MISMATCH));
  EXPECT_EQ(*Get("k"), "somebody else");
  EXPECT_EQ(master_.open_drafts(), 0u);
}

TEST_F(ObjectWriterTest, RefusesWhatCannotBeStored) {
  PutOptions put;
  put.replicas = 6;
  EXPECT_THAT(Put("k", "x", put), HasReason(v1::REASON_INVALID_ARGUMENT));
  put = PutOptions();
  put.metadata = {{"big", std::string(5000, 'x')}};
  EXPECT_THAT(Put("k", "x", put), HasReason(v1::REASON_INVALID_ARGUMENT));
  put.metadata = {{"twice", "1"}, {"twice", "2"}};
  EXPECT_THAT(Put("k", "x", put), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(Put("", "x"), HasReason(v1::REASON_INVALID_ARGUMENT));
  ExpectNothingStored("k");
}

TEST_F(ObjectWriterTest, SendsSeveralChunksAtOnceButNoMoreThanAllowed) {
  ASSERT_OK(Put("k", RandomBytes(KiB(128) * 40)));
  EXPECT_LE(chunks_.writes_at_once_max(), options_.puts_in_flight);
}

TEST_F(ObjectWriterTest, SealsInBatches) {
  ASSERT_OK(Put("k", RandomBytes(KiB(128) * 130)));
  EXPECT_EQ(master_.executions("SealChunks"), 3);
  EXPECT_LT(master_.executions("AllocateChunks"), 60);
}

// --- chunk servers that fail -----------------------------------------------------------------

TEST_F(ObjectWriterTest, AServerKilledInMidWriteIsReplaced) {
  for (const std::string victim : {"s1", "s2", "s3"}) {
    chunks_.Set(victim, [](auto& f) { f.dies_in_write_after = KiB(64); });
    const std::string bytes = RandomBytes(KiB(700));
    SCOPED_TRACE(victim);
    ASSERT_OK_AND_ASSIGN(const PutResult put, Put("k", bytes));
    EXPECT_EQ(put.least_replicas, 3u);
    EXPECT_EQ(*Get("k"), bytes);
    const auto object = master_.Find("k");
    for (const v1::ChunkInfo& chunk : object->chunks()) {
      for (const v1::ReplicaLocation& replica : chunk.replicas()) {
        EXPECT_NE(replica.server_id(), victim);
      }
    }
    chunks_.Set(victim, [](auto& f) { f = {}; });
    health_.Works(victim);
  }
}

TEST_F(ObjectWriterTest, AStreamSurvivesAServerKilledInMidWrite) {
  chunks_.Set("s1", [](auto& f) { f.dies_in_write_after = KiB(64); });
  const std::string bytes = RandomBytes(KiB(900));
  ASSERT_OK(PutStream("k", bytes));
  EXPECT_EQ(*Get("k"), bytes);
}

TEST_F(ObjectWriterTest, NeverUsesAHandleTwice) {
  chunks_.Set("s2", [](auto& f) { f.dies_in_write_after = KiB(64); });
  ASSERT_OK(Put("k", RandomBytes(KiB(900))));
  std::set<ChunkHandle> handles;
  for (const ChunkWriteRequest& write : chunks_.writes()) {
    EXPECT_TRUE(handles.insert(write.handle).second);
  }
}

TEST_F(ObjectWriterTest, ShortensTheChainWhenServersAreFew) {
  master_.SetServers(3);
  chunks_.Set("s3", [](auto& f) { f.down = true; });
  const std::string bytes = RandomBytes(KiB(700));
  ASSERT_OK_AND_ASSIGN(const PutResult put, Put("k", bytes));
  EXPECT_EQ(put.least_replicas, 2u);
  EXPECT_EQ(put.wanted_replicas, 3u);
  EXPECT_EQ(*Get("k"), bytes);
}

TEST_F(ObjectWriterTest, NeverStoresFewerReplicasThanRequired) {
  master_.SetServers(2);
  chunks_.Set("s2", [](auto& f) { f.down = true; });
  const auto put = Put("k", RandomBytes(KiB(200)));
  EXPECT_THAT(put, StatusIs(absl::StatusCode::kUnavailable));
  for (const ChunkWriteRequest& write : chunks_.writes()) {
    EXPECT_EQ(write.chain.size(), 2u);
  }
  EXPECT_LE(chunks_.writes().size(),
            2u * static_cast<size_t>(options_.chunk_write_retry.tries_max));
  ExpectNothingStored("k");
}

TEST_F(ObjectWriterTest, WaitsForServersThatComeBack) {
  master_.SetServers(2);
  chunks_.Set("s2", [](auto& f) { f.down = true; });
  std::atomic<int> allocations{0};
  master_.OnCall("AllocateChunks", [&] {
    if (++allocations >= 5) {
      chunks_.Set("s2", [](auto& f) { f.down = false; });
    }
  });
  EXPECT_OK(Put("k", RandomBytes(KiB(100))));
}

TEST_F(ObjectWriterTest, TooFewServersIsSaidAtOnce) {
  master_.SetServers(1);
  EXPECT_THAT(Put("k", RandomBytes(KiB(200))), HasReason(v1::REASON_TOO_FEW_SERVERS));
  EXPECT_EQ(pacer_.waited(), absl::ZeroDuration());
  ExpectNothingStored("k");
}

TEST_F(ObjectWriterTest, AFullDiskSendsTheChunkElsewhere) {
  chunks_.Set("s2", [](auto& f) { f.full = true; });
  const std::string bytes = RandomBytes(KiB(500));
  ASSERT_OK(Put("k", bytes));
  EXPECT_EQ(chunks_.chunks_on("s2"), 0u);
  EXPECT_EQ(*Get("k"), bytes);
}

TEST_F(ObjectWriterTest, AllDisksFullFailsSoonAndFreesWhatItUsed) {
  for (const char* id : {"s1", "s2", "s3", "s4"}) {
    chunks_.Set(id, [](auto& f) { f.full = true; });
  }
  EXPECT_THAT(Put("k", RandomBytes(KiB(500))), HasReason(v1::REASON_NO_SPACE));
  EXPECT_LE(pacer_.waited(), absl::Seconds(20));
  ExpectNothingStored("k");
}

TEST_F(ObjectWriterTest, AMasterWithoutSpaceIsBelievedAtOnce) {
  master_.Inject("AllocateChunks", {MakeError(v1::REASON_NO_SPACE, "no room"), false}, 100);
  EXPECT_THAT(Put("k", RandomBytes(KiB(128) * 10)), HasReason(v1::REASON_NO_SPACE));
  ExpectNothingStored("k");
}

// --- masters that fail -----------------------------------------------------------------------

TEST_F(ObjectWriterTest, EveryLostAnswerIsRetriedAndAppliedOnce) {
  for (const char* method :
       {"BeginWrite", "AllocateChunks", "SealChunks", "CommitObject", "OpenSessions"}) {
    master_.Inject(method, {absl::UnavailableError("lost"), true}, 2);
  }
  const std::string bytes = RandomBytes(KiB(128) * 8);
  ASSERT_OK(Put("k", bytes));
  EXPECT_EQ(master_.executions("CommitObject"), 1);
  EXPECT_EQ(master_.executions("BeginWrite"), 1);
  EXPECT_EQ(*Get("k"), bytes);
}

TEST_F(ObjectWriterTest, TheLeaderMayChangeInMidWrite) {
  std::atomic<int> calls{0};
  master_.OnCall("AllocateChunks",
                 [&] { master_.SetLeader(++calls / 3 % 2 == 0 ? "m1:1" : "m2:1"); });
  const std::string bytes = RandomBytes(KiB(128) * 130);
  ASSERT_OK(Put("k", bytes));
  EXPECT_EQ(*Get("k"), bytes);
}

TEST_F(ObjectWriterTest, ADraftThatEndedStoresNothing) {
  master_.OnCall("CommitObject", [&] { master_.EndDrafts(); });
  EXPECT_THAT(Put("k", RandomBytes(KiB(200))), HasReason(v1::REASON_DRAFT_ENDED));
  ExpectNothingStored("k");
}

TEST_F(ObjectWriterTest, ADraftThatEndsBetweenChunksStoresNothing) {
  master_.OnCall("AllocateChunks", [&] { master_.EndDrafts(); });
  EXPECT_THAT(Put("k", RandomBytes(KiB(128) * 20)), HasReason(v1::REASON_DRAFT_ENDED));
  ExpectNothingStored("k");
}

TEST_F(ObjectWriterTest, ACommitWithoutAnAnswerIsReportedAsUnknown) {
  master_.Inject("CommitObject", {absl::UnavailableError("lost"), true}, 100000);
  EXPECT_THAT(Put("k", RandomBytes(KiB(200))), HasReason(v1::REASON_OUTCOME_UNKNOWN));
}

TEST_F(ObjectWriterTest, TheDraftIsRenewedWhileTheSourceStalls) {
  master_.SetDraftExpiryMs(15);
  absl::Mutex mu;
  int renewals = 0;
  master_.OnCall("AllocateChunks", [&] {
    absl::MutexLock lock(&mu);
    ++renewals;
  });
  int reads = 0;
  const auto source = MakeCallbackSource([&](char* out, size_t n) -> absl::StatusOr<size_t> {
    if (++reads == 3) {
      // The third read stalls until the draft was renewed twice; only then there is more.
      absl::MutexLock lock(&mu);
      const auto renewed = [&] { return renewals >= 2; };
      mu.Await(absl::Condition(&renewed));
      return 0;
    }
    std::fill_n(out, n, 'x');
    return n;
  });
  ASSERT_OK(writer_.Put("k", *source, {}, 4096));
  bool renewed_only = false;
  for (const auto& request : master_.allocations()) {
    renewed_only |= request.chunk_count() == 0;
  }
  EXPECT_TRUE(renewed_only);
}

TEST_F(ObjectWriterTest, ALowerInlineLimitThanToldMakesAChunk) {
  master_.SetInlineBytes(100);
  const std::string bytes = RandomBytes(1000);
  ASSERT_OK_AND_ASSIGN(const PutResult put, Put("k", bytes));
  EXPECT_EQ(put.chunk_count, 1u);
  EXPECT_EQ(*Get("k"), bytes);
  ASSERT_OK(PutStream("s", bytes));
  EXPECT_EQ(*Get("s"), bytes);
}

// --- sources that fail -----------------------------------------------------------------------

class ShiftySource final : public Source {
 public:
  ShiftySource(uint64_t claimed, uint64_t real) : claimed_(claimed), real_(real) {}
  bool rereadable() const override { return true; }
  std::optional<uint64_t> size_bytes() const override { return claimed_; }
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t bytes,
                                const Cancellation&) override {
    const size_t n = std::min<uint64_t>(bytes, real_ - std::min(offset, real_));
    std::fill_n(out, n, 'x');
    return n;
  }
  absl::Status CheckUnchanged() override {
    return claimed_ == real_ ? absl::OkStatus() : absl::FailedPreconditionError("changed");
  }

 private:
  const uint64_t claimed_;
  const uint64_t real_;
};

TEST_F(ObjectWriterTest, ASourceThatShrinksStoresNothing) {
  ShiftySource source(KiB(500), KiB(300));
  const auto put = writer_.Put("k", source, {}, 4096);
  EXPECT_THAT(put, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_NE(put.status().message().find("shorter"), std::string::npos);
  ExpectNothingStored("k");
}

TEST_F(ObjectWriterTest, ASourceThatGrowsStoresNothing) {
  for (const uint64_t claimed : {KiB(500), uint64_t{100}}) {
    ShiftySource source(claimed, KiB(900));
    EXPECT_THAT(writer_.Put("k", source, {}, 4096),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    ExpectNothingStored("k");
  }
}

TEST_F(ObjectWriterTest, AnErrorOfTheSourceIsReturnedAndStoresNothing) {
  int reads = 0;
  const auto source = MakeCallbackSource([&](char* out, size_t n) -> absl::StatusOr<size_t> {
    if (++reads == 4) {
      return absl::DataLossError("the tape broke");
    }
    std::fill_n(out, n, 'x');
    return n;
  });
  const auto put = writer_.Put("k", *source, {}, 4096);
  EXPECT_EQ(put.status(), absl::DataLossError("the tape broke"));
  ExpectNothingStored("k");
}

TEST_F(ObjectWriterTest, CancellationStoresNothing) {
  Cancellation cancel;
  int reads = 0;
  const auto source = MakeCallbackSource([&](char* out, size_t n) -> absl::StatusOr<size_t> {
    if (++reads == 5) {
      cancel.Cancel();
    }
    std::fill_n(out, n, 'x');
    return n;
  });
  PutOptions put;
  put.cancel = &cancel;
  EXPECT_THAT(writer_.Put("k", *source, put, 4096), StatusIs(absl::StatusCode::kCancelled));
  ExpectNothingStored("k");
}

TEST_F(ObjectWriterTest, ProgressEndsAtTheSizeAlsoAfterRetries) {
  chunks_.Set("s1", [](auto& f) { f.dies_in_write_after = KiB(64); });
  Progress progress;
  PutOptions put;
  put.progress = &progress;
  ASSERT_OK(Put("k", RandomBytes(KiB(700)), put));
  EXPECT_EQ(progress.bytes_done, KiB(700));
  EXPECT_EQ(progress.bytes_total, KiB(700));
}

}  // namespace
}  // namespace ballast::client
