// SPDX-License-Identifier: Apache-2.0
// Copies whose target dies: at every step, by kill and by power loss.
#include "gtest/gtest.h"
#include "services/chunkserver/control/chunk_copier.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/sim_scheduler.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/chunkserver/control/fake_sources.h"
#include "tests/unit/chunkserver/store/store_fixture.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOkAndHolds;
using ::ballast::testing::MemFileSystem;
using ::ballast::testing::SimScheduler;

constexpr char kSource[] = "127.0.0.1:1";
const ChunkHandle kHandle(ShardId(1), 7);

enum class Death { kKill, kPowerLossHarsh, kPowerLossA, kPowerLossB };

// One life of a target's process.
class Target {
 public:
  Target(MemFileSystem& fs, uint64_t seed, const std::string& data)
      : world_(seed), store_(*OpenStore(fs)) {
    sources_.scripts[kSource].data = data;
  }
  ~Target() {
    copier_->Cancel();
    world_.RunFor(absl::Minutes(1));
    EXPECT_EQ(copier_->running(), 0u);
  }

  CopyResult Copy(const std::string& data) {
    CopyOrder order;
    order.handle = kHandle;
    order.length_bytes = static_cast<uint32_t>(data.size());
    order.crc32c = ComputeCrc32c(data);
    order.sources.emplace_back().set_address(kSource);
    order.sources.back().set_server_id(kServer);
    std::optional<CopyResult> result;
    copier_->Copy(order, [&](const CopyResult& r) { result = r; });
    EXPECT_TRUE(world_.RunUntilTrue([&] { return result.has_value(); }, absl::Hours(1)));
    return result.value_or(CopyResult{.status = absl::UnknownError("no result"), .bytes = 0});
  }
  ChunkStore& store() { return *store_; }

 private:
  SimScheduler world_;
  std::unique_ptr<ChunkStore> store_;
  std::unique_ptr<Executor> disk_ = world_.MakeExecutor(absl::Microseconds(200));
  std::unique_ptr<Executor> executor_ = world_.MakeExecutor();
  FakeSources sources_{world_};
  std::unique_ptr<ChunkCopier> copier_ = std::make_unique<ChunkCopier>(
      *store_, [this](Task task) { disk_->Post(std::move(task)); }, sources_, *executor_, world_,
      ChunkCopierOptions());
};

// What the first full list after a start says of the chunk.
bool IsReported(ChunkStore& store, const std::string& data) {
  const ChunkStore::ReporterId reporter = store.AddReporter();
  store.StartReports(reporter, {kHandle.shard()});
  google::protobuf::RepeatedPtrField<v1::ShardReport> reports;
  store.BuildReports(reporter, 100, 10, true, &reports);
  store.RemoveReporter(reporter);
  for (const v1::ShardReport& report : reports) {
    for (const v1::ReplicaReport& replica : report.replicas()) {
      if (replica.handle() == kHandle.value()) {
        EXPECT_EQ(replica.length_bytes(), data.size());
        EXPECT_EQ(replica.crc32c(), ComputeCrc32c(data).value);
        EXPECT_FALSE(replica.corrupt());
        return true;
      }
    }
  }
  return false;
}

void Die(MemFileSystem& fs, Death death, uint64_t seed) {
  Rng rng(seed);
  if (death == Death::kKill) {
    fs.EndProcess();
  } else {
    fs.Crash(death == Death::kPowerLossHarsh ? nullptr : &rng);
  }
}

TEST(CopyCrashTest, ATargetThatDiesAtAnyStepHasNothingOrTheWholeChunk) {
  const std::string data = RandomBytes(MiB(1) + 333, 1);
  size_t with_chunk = 0;
  size_t without = 0;
  for (const Death death :
       {Death::kKill, Death::kPowerLossHarsh, Death::kPowerLossA, Death::kPowerLossB}) {
    bool was_last = false;
    for (uint64_t n = 1; !was_last; ++n) {
      SCOPED_TRACE(::testing::Message()
                   << "death " << static_cast<int>(death) << " at operation " << n);
      MemFileSystem fs;
      ASSERT_OK(FormatFolder(fs, kFolder, kCluster, kServer));
      CopyResult result;
      {
        Target target(fs, n, data);
        fs.FailAfter(n);
        result = target.Copy(data);
        was_last = !fs.failed();  // it dies after the last step, before its report
      }
      ASSERT_EQ(result.status.ok(), was_last);
      ASSERT_LT(n, 100u);
      Die(fs, death, n * 10 + static_cast<uint64_t>(death));

      Target next(fs, n, data);
      ASSERT_TRUE(fs.List("/cs/staging")->empty());
      ASSERT_EQ(next.store().Usage().corrupt_count, 0u);
      ASSERT_EQ(next.store().Usage().incoming_bytes, 0u);
      const bool is_here = next.store().Stat(kHandle).ok();
      ASSERT_EQ(IsReported(next.store(), data), is_here);
      if (is_here) {
        ++with_chunk;
        ASSERT_OK(next.store().Verify(kHandle));
        ASSERT_THAT(ReadWhole(next.store(), kHandle), IsOkAndHolds(data));
      } else {
        ++without;
        ASSERT_FALSE(was_last) << "what was to be reported is durable";
        ASSERT_THAT(next.store().Stat(kHandle), HasReason(v1::REASON_CHUNK_NOT_FOUND));
        ASSERT_EQ(next.store().Usage().chunk_count, 0u);
      }
      // Given again, the order is carried out, or was.
      const CopyResult again = next.Copy(data);
      ASSERT_OK(again.status);
      ASSERT_EQ(again.bytes, is_here ? 0 : data.size());
      ASSERT_THAT(ReadWhole(next.store(), kHandle), IsOkAndHolds(data));
    }
  }
  // Some of the deaths were before the name was there, some after.
  EXPECT_GT(with_chunk, 4u);
  EXPECT_GT(without, 10u);
}

}  // namespace
}  // namespace ballast::chunkserver
