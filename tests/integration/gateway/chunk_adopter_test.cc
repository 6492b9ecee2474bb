// SPDX-License-Identifier: Apache-2.0
// Adoption against a real master: what it costs and what the master knows afterwards.
#include "gateway/chunk_adopter.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/grpc_master_api.h"
#include "client/metadata_client.h"
#include "client/routing_cache.h"
#include "common/base/byte_units.h"
#include "common/base/crc32c.h"
#include "common/rpc/shardctl_client.h"
#include "gateway/embedded_cluster.h"
#include "gateway/scratch_folder.h"
#include "gateway/unsynced_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::gateway {
namespace {

// Counts the batches that go to the real master.
class CountingApi final : public client::MasterApi {
 public:
  explicit CountingApi(std::unique_ptr<client::MasterApi> real) : real_(std::move(real)) {}
  int batches = 0;
  int others = 0;      // that change an object
  int lost_batch = 0;  // the answer of this one, counted from 1, is lost for good

#define BALLAST_MASTER_CALL(Method)                                                                \
  absl::Status Call(const std::string& address, const client::CallContext& context,                \
                    const v1::Method##Request& request, v1::Method##Response* response) override { \
    Count(request);                                                                                \
    const absl::Status status = real_->Call(address, context, request, response);                  \
    return IsLost(request) ? absl::DataLossError("lost") : status;                                 \
  }
  BALLAST_MASTER_CALL(OpenSessions)
  BALLAST_MASTER_CALL(CloseSessions)
  BALLAST_MASTER_CALL(Batch)
  BALLAST_MASTER_CALL(StatObject)
  BALLAST_MASTER_CALL(GetObject)
  BALLAST_MASTER_CALL(GetChunks)
  BALLAST_MASTER_CALL(ListObjects)
  BALLAST_MASTER_CALL(PutInline)
  BALLAST_MASTER_CALL(DeleteObject)
  BALLAST_MASTER_CALL(BeginWrite)
  BALLAST_MASTER_CALL(AllocateChunks)
  BALLAST_MASTER_CALL(SealChunks)
  BALLAST_MASTER_CALL(CommitObject)
  BALLAST_MASTER_CALL(AbortWrite)
  BALLAST_MASTER_CALL(SetReplication)
  BALLAST_MASTER_CALL(MoveReplicas)
  BALLAST_MASTER_CALL(CheckBalance)
  BALLAST_MASTER_CALL(GetMaintenance)
  BALLAST_MASTER_CALL(PlanRebalance)
  BALLAST_MASTER_CALL(StartRebalance)
  BALLAST_MASTER_CALL(StopRebalance)
  BALLAST_MASTER_CALL(ReleaseLossBreaker)
  BALLAST_MASTER_CALL(Explain)
  BALLAST_MASTER_CALL(Fsck)
  BALLAST_MASTER_CALL(PurgeQuarantined)
  BALLAST_MASTER_CALL(ReportBadReplica)
  BALLAST_MASTER_CALL(ListServers)
  BALLAST_MASTER_CALL(GetGroupStatus)
#undef BALLAST_MASTER_CALL

 private:
  template <typename Request>
  void Count(const Request&) {}
  void Count(const v1::BatchRequest&) { ++batches; }
  void Count(const v1::BeginWriteRequest&) { ++others; }
  void Count(const v1::SealChunksRequest&) { ++others; }
  void Count(const v1::CommitObjectRequest&) { ++others; }
  void Count(const v1::SetReplicationRequest&) { ++others; }
  template <typename Request>
  bool IsLost(const Request&) const {
    return false;
  }
  bool IsLost(const v1::BatchRequest&) const { return batches == lost_batch; }

  const std::unique_ptr<client::MasterApi> real_;
};

class ControllerSource final : public client::ClusterSource {
 public:
  explicit ControllerSource(const EmbeddedCluster& cluster)
      : controller_(
            {.addresses = {cluster.shardctl_address()}, .cluster_id = cluster.cluster_id()}) {}
  absl::StatusOr<v1::Configuration> CurrentConfiguration() override {
    auto response = controller_.Query(v1::QueryRequest());
    if (!response.ok()) return response.status();
    return response->configuration();
  }
  absl::StatusOr<v1::Registry> CurrentRegistry() override {
    return absl::UnimplementedError("not needed");
  }
  ShardctlClient& controller() { return controller_; }

 private:
  ShardctlClient controller_;
};

class ChunkAdopterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(scratch_, ScratchFolder::Make(::testing::TempDir()));
    ASSERT_OK_AND_ASSIGN(cluster_, EmbeddedCluster::Start(fs_, {.folder = scratch_->path()}));
    source_ = std::make_unique<ControllerSource>(*cluster_);
    routing_ = std::make_unique<client::RoutingCache>(*source_);
    api_ = std::make_unique<CountingApi>(client::MakeGrpcMasterApi(cluster_->cluster_id()));
    metadata_ = std::make_unique<client::MetadataClient>(*api_, *routing_, environment_,
                                                         client::RetryLimits(), absl::Seconds(5));
    v1::RegisterChunkServerRequest server;
    server.set_server_id("00000000-0000-4000-8000-000000000001");
    server.set_address("127.0.0.1:1");
    server.set_boot_epoch(1);
    ASSERT_OK_AND_ASSIGN(const auto registered, source_->controller().RegisterChunkServer(server));
    holder_ = ServerIndex(registered.server_index());
  }

  static std::string KeyOf(const std::string& name) {
    return std::string(kAdoptedKeyPrefix) + "=" + name;
  }

  std::unique_ptr<ScratchFolder> scratch_;
  UnsyncedFileSystem fs_{PosixFileSystem()};
  std::unique_ptr<EmbeddedCluster> cluster_;
  std::unique_ptr<ControllerSource> source_;
  std::unique_ptr<client::RoutingCache> routing_;
  std::unique_ptr<CountingApi> api_;
  client::RetryEnvironment environment_{client::RealPacer(), {}, {1}};
  std::unique_ptr<client::MetadataClient> metadata_;
  ServerIndex holder_;
};

TEST_F(ChunkAdopterTest, AHundredNamesCostThreeBatchesAndNothingElse) {
  ChunkAdopter adopter(*metadata_, MiB(64));
  std::vector<ChunkAdopter::Wish> wishes;
  for (int i = 0; i < 100; ++i) wishes.push_back({"c" + std::to_string(i), holder_});
  for (const auto& handle : adopter.Adopt(wishes)) EXPECT_OK(handle);
  EXPECT_EQ(api_->batches, 3);
  EXPECT_EQ(api_->others, 0);
}

TEST_F(ChunkAdopterTest, AnAdoptedChunkIsAnObjectOfOneChunkOfZeros) {
  constexpr uint64_t kBytes = 3 * KiB(64) + 17;
  ChunkAdopter adopter(*metadata_, kBytes);
  const auto handles = adopter.Adopt(std::vector<ChunkAdopter::Wish>{{"c", holder_}});
  ASSERT_OK(handles[0]);
  ASSERT_OK_AND_ASSIGN(const auto found, metadata_->GetObject(KeyOf("c"), client::CallControl()));
  EXPECT_EQ(found.object().wanted_replicas(), 1u);
  EXPECT_EQ(found.object().size_bytes(), kBytes);
  ASSERT_EQ(found.chunks_size(), 1);
  EXPECT_EQ(found.chunks(0).handle(), handles[0]->value());
  EXPECT_EQ(found.chunks(0).length_bytes(), kBytes);
  EXPECT_EQ(found.chunks(0).crc32c(), ComputeCrc32c(std::string(kBytes, '\0')).value);
}

TEST_F(ChunkAdopterTest, MoreWantedReplicasAreSetInOneBatch) {
  ChunkAdopter adopter(*metadata_, MiB(64));
  const auto handles =
      adopter.Adopt(std::vector<ChunkAdopter::Wish>{{"a", holder_}, {"b", holder_}});
  ASSERT_OK(handles[0]);
  ASSERT_OK(handles[1]);
  const int before = api_->batches;
  const std::vector<AdoptedChunks::Growth> growth = {{"a", *handles[0], 3}, {"b", *handles[1], 2}};
  for (const absl::Status& status : adopter.SetWanted(growth)) EXPECT_OK(status);
  EXPECT_EQ(api_->batches, before + 1);
  ASSERT_OK_AND_ASSIGN(const auto a, metadata_->Stat(KeyOf("a"), client::CallControl()));
  EXPECT_EQ(a.object().wanted_replicas(), 3u);
  ASSERT_OK_AND_ASSIGN(const auto b, metadata_->Stat(KeyOf("b"), client::CallControl()));
  EXPECT_EQ(b.object().wanted_replicas(), 2u);
}

TEST_F(ChunkAdopterTest, WhatCannotBeAdoptedFailsAloneAndTheOthersAre) {
  ChunkAdopter adopter(*metadata_, MiB(64));
  ASSERT_OK(adopter.Adopt(std::vector<ChunkAdopter::Wish>{{"a", holder_}})[0]);
  ChunkAdopter other(*metadata_, MiB(1));
  const auto again = other.Adopt(std::vector<ChunkAdopter::Wish>{{"a", holder_}, {"b", holder_}});
  EXPECT_THAT(again[0], ::ballast::testing::HasReason(v1::REASON_GENERATION_MISMATCH));
  EXPECT_OK(again[1]);
}

TEST_F(ChunkAdopterTest, AnAdoptionWhoseAnswerWasLostIsFoundByTheNextTry) {
  ChunkAdopter adopter(*metadata_, MiB(64));
  api_->lost_batch = 3;  // the commit
  const std::vector<ChunkAdopter::Wish> wishes = {{"a", holder_}};
  EXPECT_FALSE(adopter.Adopt(wishes)[0].ok());
  ASSERT_OK_AND_ASSIGN(const auto found, metadata_->GetObject(KeyOf("a"), client::CallControl()));
  const auto again = adopter.Adopt(wishes);
  ASSERT_OK(again[0]);
  EXPECT_EQ(again[0]->value(), found.chunks(0).handle());
}

}  // namespace
}  // namespace ballast::gateway
