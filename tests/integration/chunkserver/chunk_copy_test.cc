// SPDX-License-Identifier: Apache-2.0
// Copies between real chunk servers on loopback.
#include <grpcpp/support/server_callback.h>
#include <sys/stat.h>

#include <atomic>

#include "absl/strings/numbers.h"
#include "absl/synchronization/notification.h"
#include "common/base/status_macros.h"
#include "common/env/clock.h"
#include "protos/chunkserver_data_service.grpc.pb.h"
#include "services/chunkserver/control/chunk_copier.h"
#include "services/chunkserver/control/grpc_chunk_sources.h"
#include "services/chunkserver/hosted_servers.h"
#include "tests/integration/chunkserver/command_results.h"
#include "tests/integration/chunkserver/data_fixture.h"
#include "tests/support/mem_file_system.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::MemFileSystem;

const ChunkHandle kHandle(ShardId(1), 7);

// Stores a chunk without any network.
absl::Status Put(ChunkStore& store, ChunkHandle handle, absl::string_view data) {
  ASSIGN_OR_RETURN(const auto writer, store.StartWrite(handle, data.size()));
  std::vector<Crc32c> blocks;
  for (size_t at = 0; at < data.size(); at += kBlockBytes) {
    blocks.push_back(ComputeCrc32c(data.substr(at, kBlockBytes)));
  }
  ASSIGN_OR_RETURN(const VerifiedBlocks verified, VerifiedBlocks::Verify({data}, blocks));
  RETURN_IF_ERROR(writer->Append(verified));
  RETURN_IF_ERROR(writer->Prepare(data.size(), ComputeCrc32c(data)));
  return writer->Commit();
}

std::string Contents(ChunkStore& store, ChunkHandle handle) {
  const auto chunk = store.Open(handle);
  if (!chunk.ok()) {
    return chunk.status().ToString();
  }
  std::string out((*chunk)->header.blocks.size() * kBlockBytes, '\0');
  const auto got = store.ReadBlocks(**chunk, 0, (*chunk)->header.blocks.size(), out.data());
  return got.ok() ? out.substr(0, *got) : got.status().ToString();
}

// A source that sends the front of a chunk and then nothing, until the reader goes away.
class StallingSource final : public v1::ChunkData::CallbackService {
 public:
  explicit StallingSource(absl::string_view data)
      : port_(*GrpcServer::Start("127.0.0.1:0", {this})) {
    message_.set_data(std::string(data.substr(0, kBlockBytes)));
    message_.add_block_crc32c(ComputeCrc32c(message_.data()).value);
  }
  ~StallingSource() override { port_->Shutdown(absl::ZeroDuration()); }
  v1::ReplicaLocation location() const {
    v1::ReplicaLocation out;
    out.set_server_id(MakeUuid());
    out.set_address(port_->address());
    return out;
  }

  grpc::ServerWriteReactor<v1::ReadChunkResponse>* ReadChunk(grpc::CallbackServerContext*,
                                                             const v1::ReadChunkRequest*) override {
    class Stream final : public grpc::ServerWriteReactor<v1::ReadChunkResponse> {
     public:
      explicit Stream(const v1::ReadChunkResponse& message) { StartWrite(&message); }
      void OnCancel() override { Finish(grpc::Status::CANCELLED); }
      void OnDone() override { delete this; }
    };
    return new Stream(message_);
  }

 private:
  v1::ReadChunkResponse message_;
  std::unique_ptr<GrpcServer> port_;
};

// The target is a store in memory, so that a test can act at a step of its writing.
class ChunkCopyTest : public ::testing::Test {
 protected:
  void TearDown() override {
    copier_.Cancel();
    copier_.WaitIdle();
    EXPECT_TRUE(target_.staging_empty());
    EXPECT_EQ(target_.store().Usage().incoming_bytes, 0u);
  }
  CopyOrder Order(const std::vector<v1::ReplicaLocation>& sources) {
    CopyOrder order;
    order.handle = kHandle;
    order.length_bytes = static_cast<uint32_t>(data_.size());
    order.crc32c = ComputeCrc32c(data_);
    order.sources = sources;
    return order;
  }
  CopyResult Copy(const CopyOrder& order) { return CopyBy(copier_, order); }
  static CopyResult CopyBy(ChunkCopier& copier, const CopyOrder& order) {
    CopyResult result;
    copier.Copy(order, [&](const CopyResult& r) { result = r; });
    copier.WaitIdle();
    return result;
  }
  // Once, when the copy has written so much.
  void AtByte(uint64_t byte, std::function<void()> act) {
    auto done = std::make_shared<std::atomic<bool>>(false);
    fs_.SetObserver([byte, act = std::move(act), done](const std::string& what) {
      uint64_t offset = 0;
      const size_t blank = what.rfind(' ');
      if (what.find("write /cs/staging") == 0 &&
          absl::SimpleAtoi(what.substr(blank + 1, what.find('+', blank) - blank - 1), &offset) &&
          offset >= byte && !done->exchange(true)) {
        act();
      }
    });
  }

  const std::string data_ = RandomBytes(MiB(24) + 12345, 1);
  MemFileSystem fs_;
  TestDataServer a_;
  TestDataServer b_;
  TestDataServer target_{fs_};
  ThreadPool disk_{"target", 2};
  std::unique_ptr<Executor> executor_ = MakeThreadExecutor("copier");
  BulkChannelPool channels_{kIdleConnections, absl::Seconds(5)};
  GrpcChunkSources sources_{channels_, kCluster};
  ChunkCopier copier_{target_.store(), [this](Task task) { disk_.Post(std::move(task)); },
                      sources_,        *executor_,
                      RealClock(),     ChunkCopierOptions()};
};

TEST_F(ChunkCopyTest, ACopyEqualsItsSource) {
  for (const size_t bytes : {size_t{1}, size_t{kBlockBytes + 1}, size_t{MiB(1)}, data_.size()}) {
    const ChunkHandle handle(ShardId(2), bytes);
    const std::string data = data_.substr(0, bytes);
    ASSERT_OK(Put(a_.store(), handle, data));
    CopyOrder order = Order({a_.location()});
    order.handle = handle;
    order.length_bytes = static_cast<uint32_t>(bytes);
    order.crc32c = ComputeCrc32c(data);
    const CopyResult result = Copy(order);
    EXPECT_OK(result.status);
    EXPECT_EQ(result.bytes, bytes);
    EXPECT_TRUE(Contents(target_.store(), handle) == data);
    EXPECT_EQ(target_.store().Stat(handle)->state, ReplicaState::kVerified);
  }
  const CopyResult again = [&] {
    CopyOrder order = Order({a_.location()});
    order.handle = ChunkHandle(ShardId(2), data_.size());
    return Copy(order);
  }();
  EXPECT_OK(again.status);
  EXPECT_EQ(again.bytes, 0u);
}

TEST_F(ChunkCopyTest, ASourceThatIsDownForeignOrWithoutTheChunkIsPassedOver) {
  ASSERT_OK(Put(b_.store(), kHandle, data_));
  v1::ReplicaLocation down;
  down.set_server_id(MakeUuid());
  down.set_address("127.0.0.1:1");
  v1::ReplicaLocation another = b_.location();  // its address was given to somebody else
  another.set_server_id(MakeUuid());
  EXPECT_OK(Copy(Order({down, another, a_.location(), b_.location()})).status);
  EXPECT_TRUE(Contents(target_.store(), kHandle) == data_);
}

TEST_F(ChunkCopyTest, ASourceThatDiesInTheMiddleIsReplaced) {
  ASSERT_OK(Put(a_.store(), kHandle, data_));
  ASSERT_OK(Put(b_.store(), kHandle, data_));
  AtByte(MiB(8), [&] { a_.Stop(); });
  EXPECT_OK(Copy(Order({a_.location(), b_.location()})).status);
  EXPECT_TRUE(Contents(target_.store(), kHandle) == data_);
}

TEST_F(ChunkCopyTest, TheOnlySourceDyingFailsTheCopyAndLeavesNothing) {
  ASSERT_OK(Put(a_.store(), kHandle, data_));
  AtByte(MiB(8), [&] { a_.Stop(); });
  const CopyResult result = Copy(Order({a_.location()}));
  EXPECT_THAT(result.status, HasReason(v1::REASON_COPY_FAILED));
  EXPECT_EQ(result.bytes, 0u);
  EXPECT_NE(result.status.message().find(a_.address()), std::string::npos);
  EXPECT_THAT(target_.store().Stat(kHandle), HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_TRUE(target_.staging_empty());
}

TEST_F(ChunkCopyTest, ASourceThatStallsIsLeftForTheNext) {
  StallingSource stalling(data_);
  ASSERT_OK(Put(a_.store(), kHandle, data_));
  ChunkCopierOptions impatient;
  impatient.stall_timeout = absl::Seconds(1);
  ChunkCopier copier(
      target_.store(), [this](Task task) { disk_.Post(std::move(task)); }, sources_, *executor_,
      RealClock(), impatient);
  EXPECT_OK(CopyBy(copier, Order({stalling.location(), a_.location()})).status);
  EXPECT_TRUE(Contents(target_.store(), kHandle) == data_);
}

TEST_F(ChunkCopyTest, ADamagedReplicaIsNoSource) {
  MemFileSystem damaged_fs;
  TestDataServer damaged(damaged_fs);
  ASSERT_OK(Put(damaged.store(), kHandle, data_));
  ASSERT_OK(damaged_fs.FlipBit(damaged.store().layout().ChunkFile(kHandle),
                               kChunkPrefixBytes + MiB(9), 3));
  ASSERT_OK(Put(b_.store(), kHandle, data_));
  EXPECT_OK(Copy(Order({damaged.location(), b_.location()})).status);
  EXPECT_TRUE(Contents(target_.store(), kHandle) == data_);
  EXPECT_EQ(damaged.store().Usage().corrupt_count, 1u) << "and the damage is known now";
  // Alone it cannot give the chunk.
  ASSERT_OK(target_.store().Delete(kHandle, 0));
  EXPECT_THAT(Copy(Order({damaged.location()})).status, HasReason(v1::REASON_COPY_FAILED));
}

TEST_F(ChunkCopyTest, TheOrdersLengthAndChecksumDecide) {
  ASSERT_OK(Put(a_.store(), kHandle, data_));
  for (const int what : {0, 1, 2}) {
    CopyOrder order = Order({a_.location()});
    order.length_bytes += what == 0 ? 1 : 0;
    order.length_bytes -= what == 1 ? 1 : 0;
    order.crc32c.value ^= what == 2 ? 1 : 0;
    EXPECT_THAT(Copy(order).status, HasReason(v1::REASON_COPY_FAILED)) << what;
    EXPECT_THAT(target_.store().Stat(kHandle), HasReason(v1::REASON_CHUNK_NOT_FOUND));
    EXPECT_TRUE(target_.staging_empty());
  }
}

TEST_F(ChunkCopyTest, AChunkThatIsDeletedAtItsSourceWhileItIsCopiedArrivesWhole) {
  ASSERT_OK(Put(a_.store(), kHandle, data_));
  AtByte(MiB(2), [&] { EXPECT_OK(a_.store().Delete(kHandle, 0)); });
  EXPECT_OK(Copy(Order({a_.location()})).status);
  EXPECT_TRUE(Contents(target_.store(), kHandle) == data_);
  EXPECT_EQ(a_.store().Usage().chunk_count, 0u);
}

TEST_F(ChunkCopyTest, OnlyReadsOfClientsMakeAChunkHot) {
  ASSERT_OK(Put(a_.store(), kHandle, data_));
  const ChunkStore::ReporterId reporter = a_.store().AddReporter();
  a_.store().StartReports(reporter, {kHandle.shard()});
  const auto reads = [&] {
    google::protobuf::RepeatedPtrField<v1::ShardReport> reports;
    a_.store().BuildReports(reporter, 100, 100, /*with_digests=*/true, &reports);
    uint32_t sum = 0;
    for (const v1::ShardReport& report : reports) {
      for (const v1::ReplicaReport& replica : report.replicas()) {
        sum += replica.reads_since_last();
      }
    }
    return sum;
  };
  EXPECT_EQ(reads(), 0u);  // the full list
  for (const v1::TrafficClass traffic :
       {v1::TRAFFIC_CLASS_REPAIR, v1::TRAFFIC_CLASS_REBALANCE, v1::TRAFFIC_CLASS_UNSPECIFIED}) {
    CopyOrder order = Order({a_.location()});
    order.traffic = traffic;
    ASSERT_OK(Copy(order).status);
    ASSERT_OK(target_.store().Delete(kHandle, 0));
    EXPECT_EQ(reads(), traffic == v1::TRAFFIC_CLASS_UNSPECIFIED ? 1u : 0u);
  }
  a_.store().RemoveReporter(reporter);
}

TEST_F(ChunkCopyTest, ManyCopiesAtOnceAndConnectionsThatDiedBetween) {
  std::vector<std::string> chunks;
  for (uint64_t i = 1; i <= 12; ++i) {
    chunks.push_back(RandomBytes(300000 * i, i));
    ASSERT_OK(Put(a_.store(), ChunkHandle(ShardId(3), i), chunks.back()));
  }
  for (int round = 0; round < 2; ++round) {
    absl::Mutex mu;
    std::vector<absl::Status> results;
    for (uint64_t i = 1; i <= 12; ++i) {
      CopyOrder order = Order({a_.location()});
      order.handle = ChunkHandle(ShardId(3), i);
      order.length_bytes = static_cast<uint32_t>(chunks[i - 1].size());
      order.crc32c = ComputeCrc32c(chunks[i - 1]);
      copier_.Copy(order, [&](const CopyResult& r) {
        absl::MutexLock lock(&mu);
        results.push_back(r.status);
      });
    }
    copier_.WaitIdle();
    ASSERT_EQ(results.size(), 12u);
    for (const absl::Status& status : results) {
      EXPECT_OK(status);
    }
    for (uint64_t i = 1; i <= 12; ++i) {
      EXPECT_TRUE(Contents(target_.store(), ChunkHandle(ShardId(3), i)) == chunks[i - 1]);
      ASSERT_OK(target_.store().Delete(ChunkHandle(ShardId(3), i), 0));
    }
    a_.Restart();
  }
}

TEST_F(ChunkCopyTest, ACopyThroughAGateArrives) {
  ASSERT_OK(Put(a_.store(), kHandle, data_));
  const auto gate = BandwidthGate::Make(*executor_, RealClock(), 200'000'000);
  CopyOrder order = Order({a_.location()});
  order.gate = gate;
  EXPECT_OK(Copy(order).status);
  EXPECT_TRUE(Contents(target_.store(), kHandle) == data_);
  executor_.reset();  // nothing of the gate runs any more
}

TEST_F(ChunkCopyTest, ASenderKeepsWithinTheLimitOfTheClass) {
  TrafficControl limits(*executor_, RealClock());
  v1::Settings settings;
  settings.set_rebalance_server_mbps(12);
  limits.SetLimits(settings);
  a_.Limit(&limits);
  ASSERT_OK(Put(a_.store(), kHandle, data_));
  CopyOrder order = Order({a_.location()});
  order.traffic = v1::TRAFFIC_CLASS_REBALANCE;
  const SteadyTime begin = RealClock().SteadyNow();
  EXPECT_OK(Copy(order).status);
  // All but the first piece has to wait, and a little is caught up.
  EXPECT_GE(absl::ToDoubleSeconds(RealClock().SteadyNow() - begin),
            0.95 * static_cast<double>(data_.size() - MiB(1)) / 12e6);
  EXPECT_TRUE(Contents(target_.store(), kHandle) == data_);
  a_.Stop();
}

TEST_F(ChunkCopyTest, StreamsThatWaitAtAGateEndWithTheirServer) {
  TrafficControl limits(*executor_, RealClock());
  v1::Settings settings;
  settings.set_repair_server_mbps(1);
  limits.SetLimits(settings);
  a_.Limit(&limits);
  ASSERT_OK(Put(a_.store(), kHandle, data_));
  CopyOrder order = Order({a_.location()});
  order.traffic = v1::TRAFFIC_CLASS_REPAIR;
  absl::Notification ended;
  CopyResult result;
  AtByte(kBlockBytes, [&] { ended.Notify(); });
  copier_.Copy(order, [&](const CopyResult& r) { result = r; });
  ended.WaitForNotification();
  a_.Stop();
  copier_.WaitIdle();
  EXPECT_THAT(result.status, HasReason(v1::REASON_COPY_FAILED));
}

// Whole servers, by command.
class HostedCopyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(sources_, Start(PosixFileSystem()));
    ASSERT_OK_AND_ASSIGN(targets_, Start(PosixFileSystem()));
    ASSERT_OK(Add(*sources_, a_));
    ASSERT_OK(Add(*targets_, b_));
    ASSERT_OK(Put(*sources_->store(a_), kHandle, data_));
  }
  static absl::StatusOr<std::unique_ptr<HostedServers>> Start(FileSystem& fs) {
    HostedServersOptions options;
    options.cluster_id = kCluster;
    return HostedServers::Start(fs, options);
  }
  absl::Status Add(HostedServers& servers, const std::string& id, uint64_t capacity = GiB(1)) {
    return servers.AddServer(HostedServer{.server_id = id,
                                          .folder = scratch_.path() + "/" + id,
                                          .capacity_bytes = capacity,
                                          .capacity_is_nominal = true});
  }
  v1::ReplicaLocation Source() {
    v1::ReplicaLocation out;
    out.set_server_id(a_);
    out.set_address(sources_->address());
    return out;
  }
  static v1::Command Command(uint64_t id) {
    v1::Command command;
    command.set_command_id(id);
    command.set_handle(kHandle.value());
    command.mutable_fence()->set_config_version(1);
    command.mutable_fence()->set_term(1);
    return command;
  }
  v1::Command Replicate(uint64_t id) {
    v1::Command command = Command(id);
    v1::Command::Replicate& order = *command.mutable_replicate();
    *order.add_sources() = Source();
    order.set_length_bytes(static_cast<uint32_t>(data_.size()));
    order.set_crc32c(ComputeCrc32c(data_).value);
    return command;
  }
  v1::Command Delete(uint64_t id) {
    v1::Command command = Command(id);
    command.mutable_delete_replica()->set_cause(v1::Command::Delete::CAUSE_TRIM);
    return command;
  }
  std::vector<v1::CommandResult> Execute(const std::string& id,
                                         const std::vector<v1::Command>& commands) {
    CommandResults results;
    EXPECT_OK(targets_->Execute(id, commands, results.Sink()));
    return results.Await(commands.size());
  }

  const std::string a_ = MakeUuid();
  const std::string b_ = MakeUuid();
  const std::string data_ = RandomBytes(MiB(3) + 7, 5);
  ScopedFolder scratch_;
  std::unique_ptr<HostedServers> sources_;
  std::unique_ptr<HostedServers> targets_;
};

TEST_F(HostedCopyTest, ReplicateMakesAReplicaAndSaysHowManyBytesCame) {
  const auto results = Execute(b_, {Replicate(1)});
  EXPECT_EQ(results[0].code(), 0u) << results[0].text();
  EXPECT_EQ(results[0].bytes(), data_.size());
  EXPECT_TRUE(Contents(*targets_->store(b_), kHandle) == data_);
}

TEST_F(HostedCopyTest, TwoReplicatesOfOneChunkMoveItOnce) {
  const auto results = Execute(b_, {Replicate(1), Replicate(2)});
  EXPECT_EQ(results[0].bytes(), data_.size());
  EXPECT_EQ(results[1].code(), 0u) << results[1].text();
  EXPECT_EQ(results[1].bytes(), 0u);
}

TEST_F(HostedCopyTest, ReplicateAndDeleteTakeEffectInTheOrderInWhichTheyCame) {
  auto results = Execute(b_, {Replicate(1), Delete(2)});
  EXPECT_EQ(results[0].command_id(), 1u);
  EXPECT_EQ(results[1].code(), 0u) << results[1].text();
  EXPECT_EQ(targets_->store(b_)->Usage().chunk_count, 0u);
  results = Execute(b_, {Delete(3), Replicate(4)});
  EXPECT_EQ(results[0].reason(), v1::REASON_CHUNK_NOT_FOUND);
  EXPECT_EQ(results[1].bytes(), data_.size());
  results = Execute(b_, {Delete(5), Replicate(6)});
  EXPECT_EQ(results[0].code(), 0u);
  EXPECT_EQ(results[1].bytes(), data_.size());
  EXPECT_TRUE(Contents(*targets_->store(b_), kHandle) == data_);
}

TEST_F(HostedCopyTest, ADeleteThatWasGivenBeforeTheCopyAndComesAfterItDeletesNothing) {
  EXPECT_EQ(Execute(b_, {Replicate(5)})[0].bytes(), data_.size());
  EXPECT_EQ(Execute(b_, {Delete(4)})[0].code(), static_cast<uint32_t>(absl::StatusCode::kAborted));
  EXPECT_TRUE(Contents(*targets_->store(b_), kHandle) == data_);
  EXPECT_EQ(Execute(b_, {Delete(6)})[0].code(), 0u);
}

TEST_F(HostedCopyTest, AFullTargetSaysSo) {
  const std::string small = MakeUuid();
  ASSERT_OK(Add(*targets_, small, MiB(2)));
  const auto results = Execute(small, {Replicate(1)});
  EXPECT_EQ(results[0].reason(), v1::REASON_NO_SPACE);
  EXPECT_EQ(targets_->store(small)->Usage().incoming_bytes, 0u);
}

TEST_F(HostedCopyTest, AReplicaWithOtherFactsIsNotReplaced) {
  ASSERT_OK(Put(*targets_->store(b_), kHandle, "something else"));
  const auto results = Execute(b_, {Replicate(1)});
  EXPECT_EQ(results[0].reason(), v1::REASON_CHUNK_EXISTS);
  EXPECT_EQ(Contents(*targets_->store(b_), kHandle), "something else");
}

TEST_F(HostedCopyTest, ServersOfOneEndpointCopyFromEachOther) {
  const std::string c = MakeUuid();
  ASSERT_OK(Add(*targets_, c));
  ASSERT_EQ(Execute(b_, {Replicate(1)})[0].code(), 0u);
  v1::Command command = Replicate(2);
  command.mutable_replicate()->mutable_sources(0)->set_server_id(b_);
  command.mutable_replicate()->mutable_sources(0)->set_address(targets_->address());
  EXPECT_EQ(Execute(c, {command})[0].bytes(), data_.size());
  EXPECT_TRUE(Contents(*targets_->store(c), kHandle) == data_);
}

TEST_F(HostedCopyTest, CopiesOfZerosTakeNoSpaceOnTheDisk) {
  const ChunkHandle zeros(ShardId(1), 8);
  ASSERT_OK(sources_->store(a_)->CreateZeroChunk(zeros, kChunkBytesMax));
  v1::Command command = Replicate(1);
  command.set_handle(zeros.value());
  command.mutable_replicate()->set_length_bytes(kChunkBytesMax);
  command.mutable_replicate()->set_crc32c(sources_->store(a_)->Stat(zeros)->crc32c.value);
  const auto results = Execute(b_, {command});
  ASSERT_EQ(results[0].bytes(), kChunkBytesMax) << results[0].text();
  EXPECT_OK(targets_->store(b_)->Verify(zeros));
  for (ChunkStore* store : {sources_->store(a_), targets_->store(b_)}) {
    struct stat info;
    ASSERT_EQ(stat(store->layout().ChunkFile(zeros).c_str(), &info), 0);
    EXPECT_EQ(static_cast<uint64_t>(info.st_size), kChunkPrefixBytes + kChunkBytesMax);
    EXPECT_LT(static_cast<uint64_t>(info.st_blocks) * 512, MiB(1));
  }
}

TEST_F(HostedCopyTest, AServerThatStopsInMidCopyLeavesNothing) {
  MemFileSystem fs;
  StallingSource stalling(data_);
  absl::Notification writing;
  fs.SetObserver([&](const std::string& what) {
    if (what.find("write /") == 0 && what.find("/staging/") != std::string::npos &&
        !writing.HasBeenNotified()) {
      writing.Notify();
    }
  });
  ASSERT_OK_AND_ASSIGN(targets_, Start(fs));
  ASSERT_OK(
      targets_->AddServer(HostedServer{.server_id = b_, .folder = "/b", .capacity_bytes = GiB(1)}));
  v1::Command command = Replicate(1);
  *command.mutable_replicate()->mutable_sources(0) = stalling.location();
  ASSERT_OK(targets_->Execute(b_, {command}, [](const v1::CommandResult&) {}));
  writing.WaitForNotification();
  targets_.reset();
  for (const std::string& path : fs.Files()) {
    EXPECT_EQ(path.find("/staging/"), std::string::npos) << path;
    EXPECT_EQ(path.find(kHandle.ToString()), std::string::npos) << path;
  }
}

}  // namespace
}  // namespace ballast::chunkserver
