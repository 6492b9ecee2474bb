// SPDX-License-Identifier: Apache-2.0
// Several chunk servers behind one port, over real gRPC.
#include "services/chunkserver/hosted_servers.h"

#include "client/chunk_io.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/status_bridge.h"
#include "tests/integration/chunkserver/command_results.h"
#include "tests/integration/chunkserver/data_fixture.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::client::ChunkIo;
using ::ballast::client::ChunkIoOptions;
using ::ballast::client::ChunkReadRequest;
using ::ballast::client::StringChunkSource;
using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;

const ChunkHandle kHandle(ShardId(1), 7);

class HostedServersTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(); }

  void Start() {
    HostedServersOptions options;
    options.cluster_id = kCluster;
    ASSERT_OK_AND_ASSIGN(servers_, HostedServers::Start(PosixFileSystem(), options));
    stub_ = v1::ChunkData::NewStub(channels_.Get(servers_->address()));
  }
  HostedServer Spec(const std::string& id) {
    return HostedServer{.server_id = id,
                        .folder = scratch_.path() + "/" + id,
                        .capacity_bytes = GiB(1),
                        .capacity_is_nominal = true};
  }
  v1::ReplicaLocation Location(const std::string& id) {
    v1::ReplicaLocation out;
    out.set_server_id(id);
    out.set_address(servers_->address());
    return out;
  }
  absl::Status Write(const std::vector<std::string>& ids, ChunkHandle handle,
                     absl::string_view data) {
    client::ChunkWriteRequest request;
    request.handle = handle;
    for (const std::string& id : ids) {
      request.chain.push_back(Location(id));
    }
    StringChunkSource source(data);
    return io_.WriteChunk(request, source).status();
  }
  absl::StatusOr<std::string> Read(const std::string& id, ChunkHandle handle) {
    std::string got;
    ChunkReadRequest request;
    request.handle = handle;
    request.replica = Location(id);
    const auto result = io_.ReadChunk(request, [&](absl::string_view bytes) {
      got.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    });
    return result.status.ok() ? absl::StatusOr<std::string>(got) : result.status;
  }
  absl::StatusOr<v1::GetServerStatusResponse> Status(const std::string& id) {
    grpc::ClientContext context;
    PrepareContext(context, kCluster, absl::Seconds(20));
    v1::GetServerStatusRequest request;
    request.set_server_id(id);
    v1::GetServerStatusResponse response;
    const absl::Status status = FromGrpc(stub_->GetServerStatus(&context, request, &response));
    return status.ok() ? absl::StatusOr<v1::GetServerStatusResponse>(response) : status;
  }
  static v1::Command Delete(uint64_t id, ChunkHandle handle, uint64_t term) {
    v1::Command command;
    command.set_command_id(id);
    command.set_handle(handle.value());
    command.mutable_fence()->set_config_version(1);
    command.mutable_fence()->set_term(term);
    command.mutable_delete_replica()->set_cause(v1::Command::Delete::CAUSE_GARBAGE);
    return command;
  }

  const std::string a_ = MakeUuid();
  const std::string b_ = MakeUuid();
  ScopedFolder scratch_;
  std::unique_ptr<HostedServers> servers_;
  ChannelPool channels_;
  std::unique_ptr<v1::ChunkData::Stub> stub_;
  ChunkIo io_{ChunkIoOptions{.cluster_id = kCluster}};
};

TEST_F(HostedServersTest, EachServerHoldsItsOwnChunks) {
  ASSERT_OK(servers_->AddServer(Spec(a_)));
  ASSERT_OK(servers_->AddServer(Spec(b_)));
  ASSERT_OK(Write({a_}, kHandle, "of a"));
  ASSERT_OK(Write({b_}, kHandle, "of b"));
  EXPECT_EQ(*Read(a_, kHandle), "of a");
  EXPECT_EQ(*Read(b_, kHandle), "of b");
  EXPECT_EQ(Status(a_)->chunk_count(), 1u);
  EXPECT_EQ(Status(b_)->server_id(), b_);
}

TEST_F(HostedServersTest, AChainMayPassThroughSeveralOfThem) {
  const std::string c = MakeUuid();
  for (const std::string& id : {a_, b_, c}) {
    ASSERT_OK(servers_->AddServer(Spec(id)));
  }
  const std::string data = RandomBytes(MiB(3) + 5, 1);
  ASSERT_OK(Write({a_, b_, c}, kHandle, data));
  for (const std::string& id : {a_, b_, c}) {
    EXPECT_TRUE(*Read(id, kHandle) == data);
  }
}

TEST_F(HostedServersTest, RefusesIdsThatAreNotHereAndWantsOneWhenThereAreSeveral) {
  EXPECT_THAT(Status(""), HasReason(v1::REASON_UNKNOWN_SERVER));
  ASSERT_OK(servers_->AddServer(Spec(a_)));
  EXPECT_EQ(Status("")->server_id(), a_) << "the only one needs no name";
  ASSERT_OK(Write({a_}, kHandle, "x"));
  EXPECT_OK(Read("", kHandle));
  EXPECT_THAT(Read(b_, kHandle), HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(Write({b_}, kHandle, "x"), HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(Write({""}, kHandle, "x"), HasReason(v1::REASON_UNKNOWN_SERVER));
  ASSERT_OK(servers_->AddServer(Spec(b_)));
  EXPECT_THAT(Status(""), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(Read("", kHandle), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(io_.StatChunk(Location(""), kHandle, false, absl::Seconds(20)),
              HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_OK(io_.StatChunk(Location(a_), kHandle, true, absl::Seconds(20)));
  EXPECT_THAT(Status(MakeUuid()), HasReason(v1::REASON_UNKNOWN_SERVER));
}

TEST_F(HostedServersTest, CarriesOutCommandsOfTheServerTheyAreFor) {
  ASSERT_OK(servers_->AddServer(Spec(a_)));
  ASSERT_OK(servers_->AddServer(Spec(b_)));
  ASSERT_OK(Write({a_, b_}, kHandle, "x"));
  CommandResults results;
  ASSERT_OK(servers_->Execute(a_, {Delete(1, kHandle, 5)}, results.Sink()));
  EXPECT_EQ(results.Await(1)[0].code(), 0u);
  EXPECT_TRUE(servers_->store(a_)->List(ChunkHandle(0), 10).empty());
  EXPECT_EQ(servers_->store(b_)->List(ChunkHandle(0), 10).size(), 1u);
  // A deposed master's; a's fences are not b's.
  ASSERT_OK(servers_->Execute(a_, {Delete(2, kHandle, 4)}, results.Sink()));
  EXPECT_EQ(results.Await(2)[1].reason(), v1::REASON_STALE_FENCE);
  ASSERT_OK(servers_->Execute(b_, {Delete(2, kHandle, 4)}, results.Sink()));
  EXPECT_EQ(results.Await(3)[2].code(), 0u);
  EXPECT_THAT(servers_->Execute(MakeUuid(), {}, results.Sink()),
              HasReason(v1::REASON_UNKNOWN_SERVER));
}

TEST_F(HostedServersTest, ACommandGivenTwiceAnswersTwice) {
  ASSERT_OK(servers_->AddServer(Spec(a_)));
  ASSERT_OK(Write({a_}, kHandle, "x"));
  CommandResults results;
  const v1::Command command = Delete(1, kHandle, 5);
  ASSERT_OK(servers_->Execute(a_, {command, command}, results.Sink()));
  const std::vector<v1::CommandResult> got = results.Await(2);
  EXPECT_EQ(got[0].command_id(), 1u);
  EXPECT_EQ(got[1].command_id(), 1u);
  EXPECT_EQ(got[0].code(), 0u);
}

TEST_F(HostedServersTest, AServerComesBackWithItsChunksAndItsFences) {
  ASSERT_OK(servers_->AddServer(Spec(a_)));
  EXPECT_EQ(servers_->boot_epoch(a_), 1u);
  ASSERT_OK(Write({a_}, kHandle, "kept"));
  CommandResults results;
  ASSERT_OK(servers_->Execute(a_, {Delete(1, ChunkHandle(ShardId(1), 8), 5)}, results.Sink()));
  EXPECT_EQ(results.Await(1)[0].reason(), v1::REASON_CHUNK_NOT_FOUND);
  servers_.reset();
  Start();
  ASSERT_OK(servers_->AddServer(Spec(a_)));
  EXPECT_EQ(servers_->boot_epoch(a_), 2u);
  EXPECT_EQ(*Read(a_, kHandle), "kept");
  ASSERT_OK(servers_->Execute(a_, {Delete(2, kHandle, 4)}, results.Sink()));
  EXPECT_EQ(results.Await(2)[1].reason(), v1::REASON_STALE_FENCE);
}

TEST_F(HostedServersTest, RefusesFoldersOfOthers) {
  ASSERT_OK(servers_->AddServer(Spec(a_)));
  EXPECT_THAT(servers_->AddServer(Spec(a_)), StatusIs(absl::StatusCode::kAlreadyExists));
  HostedServer other = Spec(b_);
  other.folder = Spec(a_).folder;
  EXPECT_THAT(servers_->AddServer(other), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(servers_->AddServer(HostedServer{.server_id = "s1", .folder = "/tmp/x"}),
              HasReason(v1::REASON_INVALID_ARGUMENT));
  HostedServer without = Spec(b_);
  without.capacity_bytes = 0;
  EXPECT_THAT(servers_->AddServer(without), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_EQ(servers_->store(b_), nullptr);
}

TEST_F(HostedServersTest, ChunksOfZerosAreReadLikeAnyOther) {
  HostedServer spec = Spec(a_);
  spec.capacity_bytes = TiB(1024);  // more than any disk here has
  ASSERT_OK(servers_->AddServer(spec));
  ChunkStore& store = *servers_->store(a_);
  ASSERT_OK(store.CreateZeroChunk(kHandle, kChunkBytesMax));
  const absl::StatusOr<std::string> got = Read(a_, kHandle);
  ASSERT_OK(got);
  EXPECT_EQ(got->size(), kChunkBytesMax);
  EXPECT_EQ(got->find_first_not_of('\0'), std::string::npos);
  EXPECT_GE(Status(a_)->used_bytes(), kChunkBytesMax);
}

}  // namespace
}  // namespace ballast::chunkserver
