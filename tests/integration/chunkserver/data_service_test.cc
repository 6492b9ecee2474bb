// SPDX-License-Identifier: Apache-2.0
// The data plane over real gRPC: chunk_io against one or several data services.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <pthread.h>

#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/status_bridge.h"
#include "common/types/blocks.h"
#include "protos/chunkserver_data_service.grpc.pb.h"
#include "tests/integration/chunkserver/data_fixture.h"
#include "tests/support/mem_file_system.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::client::ChunkIo;
using ::ballast::client::ChunkIoOptions;
using ::ballast::client::ChunkReadRequest;
using ::ballast::client::ChunkReadResult;
using ::ballast::client::ChunkWriteRequest;
using ::ballast::client::ChunkWriteResult;
using ::ballast::client::StringChunkSource;
using ::ballast::testing::HasReason;
using ::ballast::testing::MemFileSystem;
using ::ballast::testing::StatusIs;

ChunkIoOptions IoOptions() {
  ChunkIoOptions options;
  options.cluster_id = kCluster;
  options.connect_timeout = absl::Seconds(2);
  return options;
}

class DataServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<ChunkWriteResult> Write(const std::vector<TestDataServer*>& chain,
                                         ChunkHandle handle, absl::string_view data,
                                         bool hint = true) {
    ChunkWriteRequest request;
    request.handle = handle;
    for (TestDataServer* server : chain) {
      request.chain.push_back(server->location());
    }
    request.length_hint_bytes = hint ? data.size() : 0;
    request.timeout = absl::Seconds(30);
    StringChunkSource source(data);
    return io_.WriteChunk(request, source);
  }
  struct Got {
    ChunkReadResult result;
    std::string data;
  };
  Got Read(TestDataServer& server, ChunkHandle handle, uint64_t offset = 0, uint64_t length = 0) {
    Got got;
    ChunkReadRequest request;
    request.handle = handle;
    request.replica = server.location();
    request.offset_bytes = offset;
    request.length_bytes = length;
    request.timeout = absl::Seconds(30);
    got.result = io_.ReadChunk(request, [&](absl::string_view bytes) {
      got.data.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    });
    return got;
  }

  const ChunkHandle kHandle{ShardId(3), 17};
  ChunkIo io_{IoOptions()};
};

TEST_F(DataServiceTest, AChainStoresTheChunkOnEveryServer) {
  TestDataServer a, b, c;
  for (const size_t bytes : {size_t{1}, size_t{kBlockBytes}, size_t{MiB(1)}, size_t{MiB(5) + 77}}) {
    const ChunkHandle handle(ShardId(1), bytes);
    const std::string data = RandomBytes(bytes, bytes);
    ASSERT_OK_AND_ASSIGN(const ChunkWriteResult written,
                         Write({&a, &b, &c}, handle, data, bytes % 2 == 0));
    EXPECT_EQ(written.length_bytes, bytes);
    EXPECT_EQ(written.crc32c, ComputeCrc32c(data));
    EXPECT_EQ(written.server_ids, (std::vector<std::string>{a.id(), b.id(), c.id()}));
    for (TestDataServer* server : {&a, &b, &c}) {
      const Got got = Read(*server, handle);
      ASSERT_OK(got.result.status);
      EXPECT_TRUE(got.data == data);
      EXPECT_EQ(got.result.crc32c, written.crc32c);
      EXPECT_TRUE(server->staging_empty());
    }
  }
}

TEST_F(DataServiceTest, AWholeChunkOf64MiB) {
  TestDataServer a, b;
  const std::string data = RandomBytes(kChunkBytesMax, 1);
  ASSERT_OK(Write({&a, &b}, kHandle, data));
  const Got got = Read(b, kHandle);
  ASSERT_OK(got.result.status);
  EXPECT_TRUE(got.data == data);
  // No more than a chunk is taken from a longer source.
  ASSERT_OK_AND_ASSIGN(const ChunkWriteResult written,
                       Write({&a}, ChunkHandle(1), data + "x", /*hint=*/false));
  EXPECT_EQ(written.length_bytes, kChunkBytesMax);
  EXPECT_THAT(Write({&a}, ChunkHandle(2), ""), HasReason(v1::REASON_INVALID_ARGUMENT));
}

TEST_F(DataServiceTest, ReadsExactlyTheRange) {
  TestDataServer a;
  const std::string data = RandomBytes(MiB(2) + 12345, 1);
  ASSERT_OK(Write({&a}, kHandle, data));
  Rng rng(5);
  for (int i = 0; i < 60; ++i) {
    const uint64_t offset = rng.Below(data.size());
    const uint64_t length = 1 + rng.Below(data.size());
    const Got got = Read(a, kHandle, offset, length);
    ASSERT_OK(got.result.status);
    ASSERT_TRUE(got.data == data.substr(offset, length)) << offset << " " << length;
    ASSERT_EQ(got.result.delivered_bytes, got.data.size());
    ASSERT_EQ(got.result.crc32c, ComputeCrc32c(got.data));
  }
  EXPECT_THAT(Read(a, kHandle, data.size()).result.status, HasReason(v1::REASON_OUT_OF_RANGE));
  EXPECT_THAT(Read(a, ChunkHandle(9)).result.status, HasReason(v1::REASON_CHUNK_NOT_FOUND));
}

TEST_F(DataServiceTest, AHandleIsWrittenOnce) {
  TestDataServer a, b;
  ASSERT_OK(Write({&b}, kHandle, "first"));
  EXPECT_THAT(Write({&b}, kHandle, "second"), HasReason(v1::REASON_CHUNK_EXISTS));
  // As the second of a chain: the first keeps nothing.
  const auto chained = Write({&a, &b}, kHandle, "third");
  EXPECT_THAT(chained, HasReason(v1::REASON_CHAIN_FAILED));
  EXPECT_EQ(DetailOf(chained.status())->server_id(), b.id());
  EXPECT_THAT(Read(a, kHandle).result.status, HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_EQ(Read(b, kHandle).data, "first");
}

TEST_F(DataServiceTest, ADeadServerInTheChainIsNamedAndNothingIsKept) {
  TestDataServer a, b, c;
  c.Stop();
  const std::string data = RandomBytes(MiB(3), 1);
  const auto written = Write({&a, &b, &c}, kHandle, data);
  EXPECT_THAT(written, HasReason(v1::REASON_CHAIN_FAILED));
  EXPECT_EQ(DetailOf(written.status())->server_id(), c.id());
  for (TestDataServer* server : {&a, &b}) {
    EXPECT_THAT(Read(*server, kHandle).result.status, HasReason(v1::REASON_CHUNK_NOT_FOUND));
    EXPECT_TRUE(server->staging_empty());
    EXPECT_EQ(server->store().Usage().incoming_bytes, 0u);
  }
  // The first one dead is the caller's own finding.
  EXPECT_THAT(Write({&c, &a}, ChunkHandle(2), "x"), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(DataServiceTest, AServerKilledInMidWriteFailsTheWriteEverywhere) {
  TestDataServer a, b;
  ChunkWriteRequest request;
  request.handle = kHandle;
  request.chain = {a.location(), b.location()};
  request.timeout = absl::Seconds(30);
  int calls = 0;
  const auto written = io_.WriteChunk(request, [&](char* out, size_t bytes) {
    if (++calls == 4) {
      b.Stop();
    }
    std::fill(out, out + bytes, 'x');
    return absl::StatusOr<size_t>(calls < 40 ? bytes : 0);
  });
  EXPECT_THAT(written, HasReason(v1::REASON_CHAIN_FAILED));
  EXPECT_THAT(Read(a, kHandle).result.status, HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_TRUE(a.staging_empty());
}

TEST_F(DataServiceTest, AServerKilledInMidReadEndsTheReadWithWhatWasRight) {
  TestDataServer a;
  const std::string data = RandomBytes(MiB(32), 1);
  ASSERT_OK(Write({&a}, kHandle, data));
  std::string got;
  ChunkReadRequest request;
  request.handle = kHandle;
  request.replica = a.location();
  request.timeout = absl::Seconds(30);
  const ChunkReadResult result = io_.ReadChunk(request, [&](absl::string_view bytes) {
    if (got.empty()) {
      a.Stop();
    }
    got.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  });
  EXPECT_FALSE(result.status.ok());
  EXPECT_EQ(result.delivered_bytes, got.size());
  EXPECT_TRUE(got == data.substr(0, got.size()));
  EXPECT_EQ(result.crc32c, ComputeCrc32c(got));
}

TEST_F(DataServiceTest, AFailingSourceIsReturnedAndLeavesNothing) {
  TestDataServer a, b;
  ChunkWriteRequest request;
  request.handle = kHandle;
  request.chain = {a.location(), b.location()};
  request.timeout = absl::Seconds(30);
  int calls = 0;
  const auto written = io_.WriteChunk(request, [&](char*, size_t bytes) -> absl::StatusOr<size_t> {
    if (++calls == 3) {
      return absl::DataLossError("the file shrank");
    }
    return bytes;
  });
  EXPECT_EQ(written.status(), absl::DataLossError("the file shrank"));
  a.Stop();  // waits for the streams to be gone
  b.Stop();
  EXPECT_TRUE(a.staging_empty() && b.staging_empty());
  EXPECT_EQ(a.store().Usage().chunk_count + b.store().Usage().chunk_count, 0u);
}

TEST_F(DataServiceTest, AFailingSinkEndsTheRead) {
  TestDataServer a;
  ASSERT_OK(Write({&a}, kHandle, RandomBytes(MiB(8), 1)));
  ChunkReadRequest request;
  request.handle = kHandle;
  request.replica = a.location();
  request.timeout = absl::Seconds(30);
  const ChunkReadResult result = io_.ReadChunk(
      request, [](absl::string_view) { return absl::ResourceExhaustedError("disk full"); });
  EXPECT_EQ(result.status, absl::ResourceExhaustedError("disk full"));
  EXPECT_EQ(result.delivered_bytes, 0u);
  EXPECT_TRUE(Read(a, kHandle).result.status.ok());
}

TEST_F(DataServiceTest, AFlippedByteOnDiskIsNeverDelivered) {
  MemFileSystem fs;
  TestDataServer a(fs);
  const std::string data = RandomBytes(MiB(3), 1);
  ASSERT_OK(Write({&a}, kHandle, data));
  ASSERT_OK(fs.FlipBit(a.store().layout().ChunkFile(kHandle), kChunkPrefixBytes + MiB(2) + 5, 1));
  const Got got = Read(a, kHandle);
  EXPECT_THAT(got.result.status, HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_LE(got.data.size(), MiB(2));
  EXPECT_TRUE(got.data == data.substr(0, got.data.size()));
  EXPECT_EQ(a.store().Usage().corrupt_count, 1u);
  EXPECT_THAT(io_.StatChunk(a.location(), kHandle, false, absl::Seconds(5)),
              HasReason(v1::REASON_CHECKSUM_MISMATCH));
}

TEST_F(DataServiceTest, StatTellsLengthAndChecksumAndCanVerify) {
  TestDataServer a;
  const std::string data = RandomBytes(100000, 1);
  ASSERT_OK(Write({&a}, kHandle, data));
  ASSERT_OK_AND_ASSIGN(const v1::StatChunkResponse stat,
                       io_.StatChunk(a.location(), kHandle, true, absl::Seconds(5)));
  EXPECT_EQ(stat.length_bytes(), data.size());
  EXPECT_EQ(stat.crc32c(), ComputeCrc32c(data).value);
  EXPECT_TRUE(stat.verified());
  EXPECT_THAT(io_.StatChunk(a.location(), ChunkHandle(1), false, absl::Seconds(5)),
              HasReason(v1::REASON_CHUNK_NOT_FOUND));
}

TEST_F(DataServiceTest, AFullServerIsNamedAndFreesWhatItUsed) {
  TestDataServer small(PosixFileSystem(), MiB(6));
  TestDataServer large;
  const auto hinted = Write({&small}, ChunkHandle(1), RandomBytes(MiB(10), 1));
  EXPECT_THAT(hinted, HasReason(v1::REASON_NO_SPACE));
  EXPECT_EQ(DetailOf(hinted.status())->server_id(), small.id());
  EXPECT_THAT(Write({&small}, ChunkHandle(2), RandomBytes(MiB(10), 1), /*hint=*/false),
              HasReason(v1::REASON_NO_SPACE));
  const auto chained = Write({&large, &small}, ChunkHandle(3), RandomBytes(MiB(10), 1));
  EXPECT_THAT(chained, HasReason(v1::REASON_CHAIN_FAILED));
  EXPECT_EQ(DetailOf(chained.status())->server_id(), small.id());
  EXPECT_TRUE(small.staging_empty() && large.staging_empty());
  EXPECT_EQ(small.store().Usage().incoming_bytes, 0u);
  EXPECT_OK(Write({&small}, ChunkHandle(4), RandomBytes(MiB(1), 1)));
}

TEST_F(DataServiceTest, RefusesOtherClustersServersAndEndlessStreams) {
  TestDataServer a;
  ASSERT_OK(Write({&a}, kHandle, "x"));
  ChunkIoOptions foreign = IoOptions();
  foreign.cluster_id = "00000000-7b0e-4d0a-9a53-0d2b1f7c8e11";
  ChunkIo io(foreign);
  const auto source = [](char* out, size_t) -> absl::StatusOr<size_t> {
    *out = 'x';
    return size_t{1};
  };
  EXPECT_THAT(io.WriteChunk({.handle = ChunkHandle(2), .chain = {a.location()}}, source),
              HasReason(v1::REASON_WRONG_CLUSTER));
  EXPECT_THAT(io.ReadChunk({.handle = kHandle, .replica = a.location()},
                           [](absl::string_view) { return absl::OkStatus(); })
                  .status,
              HasReason(v1::REASON_WRONG_CLUSTER));
  EXPECT_THAT(io.ServerStatus(a.address(), absl::Seconds(5)), HasReason(v1::REASON_WRONG_CLUSTER));

  v1::ReplicaLocation wrong = a.location();
  wrong.set_server_id(MakeUuid());
  EXPECT_THAT(io_.ReadChunk({.handle = kHandle, .replica = wrong},
                            [](absl::string_view) { return absl::OkStatus(); })
                  .status,
              HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(io_.StatChunk(wrong, kHandle, false, absl::Seconds(5)),
              HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(io_.WriteChunk({.handle = ChunkHandle(3), .chain = {wrong}}, source),
              HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(
      io_.WriteChunk({.handle = ChunkHandle(4), .chain = {a.location()}, .timeout = absl::Hours(2)},
                     source),
      HasReason(v1::REASON_INVALID_ARGUMENT));
}

TEST_F(DataServiceTest, AStreamThatStallsIsGivenUp) {
  ChunkIoOptions options = IoOptions();
  options.stall_timeout = absl::Milliseconds(200);
  ChunkIo io(options);
  MemFileSystem fs;
  TestDataServer slow(fs);
  absl::Notification given_up;
  fs.SetObserver([&given_up](const std::string& what) {
    if (what.find("sync") == 0) {
      given_up.WaitForNotification();
    }
  });
  StringChunkSource source("data");
  EXPECT_THAT(io.WriteChunk({.handle = ChunkHandle(2), .chain = {slow.location()}}, source),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  given_up.Notify();
  slow.Stop();
}

TEST_F(DataServiceTest, ManyStreamsAtOnce) {
  TestDataServer a, b, c;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 1; i <= 4; ++i) {
        const ChunkHandle handle(ShardId(static_cast<uint32_t>(t)), i);
        const std::string data = RandomBytes(300000 * i + t, i);
        EXPECT_OK(Write(t % 2 == 0 ? std::vector<TestDataServer*>{&a, &b}
                                   : std::vector<TestDataServer*>{&b, &c, &a},
                        handle, data));
        const Got got = Read(t % 2 == 0 ? b : c, handle);
        EXPECT_OK(got.result.status);
        EXPECT_TRUE(got.data == data);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST_F(DataServiceTest, AConnectionLostByARestartIsReplacedUnnoticed) {
  TestDataServer a;
  ASSERT_OK(Write({&a}, kHandle, "before"));
  a.Restart();
  EXPECT_OK(Write({&a}, ChunkHandle(2), RandomBytes(MiB(2), 1)));
  a.Restart();
  EXPECT_OK(Read(a, kHandle).result.status);
}

TEST_F(DataServiceTest, StatusTellsWhoAndHowMuch) {
  TestDataServer a;
  ASSERT_OK(Write({&a}, kHandle, "x"));
  ASSERT_OK_AND_ASSIGN(const auto status, io_.ServerStatus(a.address(), absl::Seconds(5)));
  EXPECT_EQ(status.server_id(), a.id());
  EXPECT_EQ(status.chunk_count(), 1u);
  EXPECT_GT(status.capacity_bytes(), status.used_bytes());
  EXPECT_GT(status.resident_bytes(), 0u);
  EXPECT_FALSE(status.loading());
}

// Notes which thread asks for the space.
class SpaceSpy final : public FileSystem {
 public:
  explicit SpaceSpy(FileSystem& fs) : fs_(fs) {}
  std::string thread_name() const {
    absl::MutexLock lock(&mu_);
    return thread_name_;
  }

  absl::StatusOr<SpaceInfo> Space(const std::string& path) override {
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof(name));
    absl::MutexLock lock(&mu_);
    thread_name_ = name;
    return fs_.Space(path);
  }
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    return fs_.Open(path, mode);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return fs_.Rename(from, to);
  }
  absl::Status RenameExclusive(const std::string& from, const std::string& to) override {
    return fs_.RenameExclusive(from, to);
  }
  absl::Status Remove(const std::string& path) override { return fs_.Remove(path); }
  absl::Status CreateDir(const std::string& path) override { return fs_.CreateDir(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    return fs_.List(path);
  }
  absl::StatusOr<bool> Exists(const std::string& path) override { return fs_.Exists(path); }
  absl::StatusOr<uint64_t> FileSize(const std::string& path) override { return fs_.FileSize(path); }
  absl::Status SyncDir(const std::string& path) override { return fs_.SyncDir(path); }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return fs_.Lock(path);
  }

 private:
  FileSystem& fs_;
  mutable absl::Mutex mu_;
  std::string thread_name_ ABSL_GUARDED_BY(mu_);
};

TEST_F(DataServiceTest, StatusAsksTheDiskOnADiskThread) {
  MemFileSystem mem;
  SpaceSpy fs(mem);
  TestDataServer a(fs);
  ASSERT_OK(io_.ServerStatus(a.address(), absl::Seconds(5)));
  EXPECT_EQ(fs.thread_name(), "disk") << "else a disk that hangs stops heartbeats";
}

TEST_F(DataServiceTest, ADrainingServerRefusesNewStreams) {
  TestDataServer a;
  a.service().Drain();
  EXPECT_THAT(Write({&a}, kHandle, "x"), HasReason(v1::REASON_NOT_READY));
}

// Whatever Protocol Buffers implementation a client uses: here the generated classes.
class GeneratedStubTest : public DataServiceTest {
 protected:
  void SetUp() override { stub_ = v1::ChunkData::NewStub(MakeChannel(a_.address())); }

  absl::Status WriteMessages(const std::vector<v1::WriteChunkRequest>& messages) {
    grpc::ClientContext context;
    PrepareContext(context, kCluster, absl::Seconds(20));
    v1::WriteChunkResponse response;
    const auto writer = stub_->WriteChunk(&context, &response);
    for (const v1::WriteChunkRequest& message : messages) {
      if (!writer->Write(message)) {
        break;
      }
    }
    writer->WritesDone();
    return FromGrpc(writer->Finish());
  }
  v1::WriteChunkRequest First(absl::string_view data) {
    v1::WriteChunkRequest message = Data(0, data);
    message.mutable_header()->set_handle(kHandle.value());
    message.mutable_header()->set_server_id(a_.id());
    return message;
  }
  static v1::WriteChunkRequest Data(uint64_t offset, absl::string_view data) {
    v1::WriteChunkRequest message;
    message.set_offset_bytes(offset);
    for (size_t at = 0; at < data.size(); at += kBlockBytes) {
      message.add_block_crc32c(ComputeCrc32c(data.substr(at, kBlockBytes)).value);
    }
    message.set_data(std::string(data));
    return message;
  }
  static void Finish(v1::WriteChunkRequest& message, absl::string_view all) {
    message.mutable_finish()->set_length_bytes(static_cast<uint32_t>(all.size()));
    message.mutable_finish()->set_crc32c(ComputeCrc32c(all).value);
  }

  TestDataServer a_;
  std::unique_ptr<v1::ChunkData::Stub> stub_;
};

TEST_F(GeneratedStubTest, WritesAndReads) {
  const std::string data = RandomBytes(MiB(1) + 70000, 1);
  v1::WriteChunkRequest last = Data(MiB(1), absl::string_view(data).substr(MiB(1)));
  Finish(last, data);
  ASSERT_OK(WriteMessages({First(absl::string_view(data).substr(0, MiB(1))), last}));
  grpc::ClientContext context;
  PrepareContext(context, kCluster, absl::Seconds(20));
  v1::ReadChunkRequest request;
  request.set_handle(kHandle.value());
  const auto reader = stub_->ReadChunk(&context, request);
  v1::ReadChunkResponse response;
  std::string got;
  while (reader->Read(&response)) {
    EXPECT_EQ(response.offset_bytes(), got.size());
    EXPECT_EQ(static_cast<uint64_t>(response.block_crc32c_size()),
              BlockCount(response.data().size()));
    got += response.data();
  }
  EXPECT_OK(FromGrpc(reader->Finish()));
  EXPECT_TRUE(got == data);
}

TEST_F(GeneratedStubTest, RefusesBrokenRules) {
  const std::string block = RandomBytes(kBlockBytes, 1);
  struct Case {
    const char* what;
    std::vector<v1::WriteChunkRequest> messages;
    v1::Reason reason;
  };
  v1::WriteChunkRequest headless = Data(0, block);
  v1::WriteChunkRequest wrong_crc = First(block);
  wrong_crc.set_block_crc32c(0, 1);
  v1::WriteChunkRequest no_crc = First(block);
  no_crc.clear_block_crc32c();
  v1::WriteChunkRequest wrong_finish = First(block);
  Finish(wrong_finish, block + "x");
  v1::WriteChunkRequest wrong_whole = First(block);
  Finish(wrong_whole, block);
  wrong_whole.mutable_finish()->set_crc32c(1);
  v1::WriteChunkRequest empty = First("");
  Finish(empty, "");
  v1::WriteChunkRequest twice = First(block);
  v1::ReplicaLocation self = a_.location();
  *twice.mutable_header()->add_forward() = self;
  v1::WriteChunkRequest large_hint = First(block);
  large_hint.mutable_header()->set_length_hint_bytes(kChunkBytesMax + 1);
  const std::vector<Case> cases = {
      {"no header", {headless}, v1::REASON_INVALID_ARGUMENT},
      {"two headers", {First(block), First(block)}, v1::REASON_INVALID_ARGUMENT},
      {"wrong block checksum", {wrong_crc}, v1::REASON_CHECKSUM_MISMATCH},
      {"no block checksum", {no_crc}, v1::REASON_INVALID_ARGUMENT},
      {"gap", {First(block), Data(2 * kBlockBytes, block)}, v1::REASON_INVALID_ARGUMENT},
      {"after a short block", {First("short"), Data(5, "x")}, v1::REASON_INVALID_ARGUMENT},
      {"wrong length", {wrong_finish}, v1::REASON_INVALID_ARGUMENT},
      {"wrong whole checksum", {wrong_whole}, v1::REASON_CHECKSUM_MISMATCH},
      {"empty chunk", {empty}, v1::REASON_INVALID_ARGUMENT},
      {"no finish", {First(block)}, v1::REASON_INVALID_ARGUMENT},
      {"nothing", {}, v1::REASON_INVALID_ARGUMENT},
      {"itself in the chain", {twice}, v1::REASON_INVALID_ARGUMENT},
      {"hint too large", {large_hint}, v1::REASON_INVALID_ARGUMENT},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(WriteMessages(c.messages), HasReason(c.reason)) << c.what;
    EXPECT_TRUE(a_.staging_empty()) << c.what;
  }
  EXPECT_EQ(a_.store().Usage().chunk_count, 0u);
  EXPECT_EQ(a_.store().Usage().incoming_bytes, 0u);
}

TEST_F(GeneratedStubTest, AMessageBeyondTheLimitIsRefused) {
  v1::WriteChunkRequest message = First(RandomBytes(MiB(1) + kBlockBytes, 1));
  EXPECT_THAT(WriteMessages({message}), HasReason(v1::REASON_INVALID_ARGUMENT));
  message.set_data(std::string(MiB(6), 'x'));
  EXPECT_FALSE(WriteMessages({message}).ok());
  EXPECT_OK(Write({&a_}, kHandle, "fine"));
}

TEST_F(GeneratedStubTest, AWriterThatGoesAwayLeavesNothing) {
  {
    grpc::ClientContext context;
    PrepareContext(context, kCluster, absl::Seconds(20));
    v1::WriteChunkResponse response;
    const auto writer = stub_->WriteChunk(&context, &response);
    ASSERT_TRUE(writer->Write(First(RandomBytes(kBlockBytes, 1))));
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  a_.Stop();
  EXPECT_TRUE(a_.staging_empty());
  EXPECT_EQ(a_.store().Usage().incoming_bytes, 0u);
}

}  // namespace
}  // namespace ballast::chunkserver
