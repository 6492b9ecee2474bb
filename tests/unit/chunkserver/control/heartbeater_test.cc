// SPDX-License-Identifier: Apache-2.0
// The control loop against scripted masters, in virtual time.
#include "services/chunkserver/control/heartbeater.h"

#include <set>

#include "gtest/gtest.h"
#include "services/chunkserver/store/recovery.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/sim_scheduler.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/chunkserver/control/fake_sources.h"
#include "tests/unit/chunkserver/control/fake_streams.h"
#include "tests/unit/chunkserver/store/store_fixture.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::MemFileSystem;
using ::ballast::testing::SimScheduler;

ShardConfig OneGroup(uint64_t version, std::vector<std::string> masters, size_t shards = 4) {
  ShardConfig config;
  config.version = ConfigVersion(version);
  config.owners.assign(shards, GroupId(1));
  GroupMembers group{.group = GroupId(1), .masters = {}};
  for (size_t i = 0; i < masters.size(); ++i) {
    group.masters.push_back(
        MasterEndpoint{.node = NodeId(static_cast<uint32_t>(i + 1)), .address = masters[i]});
  }
  config.groups.push_back(group);
  return config;
}

void Answer(FakeStreams::Stream& stream, const v1::Heartbeat& heartbeat) {
  v1::HeartbeatReply reply;
  reply.set_sequence(heartbeat.sequence());
  stream.events.on_reply(reply);
}

class HeartbeaterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
    ASSERT_OK_AND_ASSIGN(identity_, ServerIdentity::Open(fs_, kFolder));
    ChunkStoreOptions options = StoreOptions(GiB(1));
    options.on_news = [this] { gate_->Post([this] { heartbeater_->OnNews(); }); };
    store_ = std::make_unique<ChunkStore>(fs_, options);
    executor_ = world_.MakeExecutor();
    gate_ = std::make_shared<PostGate>(*executor_);
    disk_ = world_.MakeExecutor(absl::Milliseconds(3));
    const PostBlocking post_blocking = [this](Task task) { disk_->Post(std::move(task)); };
    copier_ = std::make_unique<ChunkCopier>(*store_, post_blocking, sources_, *executor_, world_,
                                            ChunkCopierOptions());
    traffic_ = std::make_unique<TrafficControl>(*executor_, world_);
    Heartbeater::Callbacks callbacks;
    callbacks.on_settings = [this](const v1::Settings& settings) {
      traffic_->SetLimits(settings);
      scrub_days_ = settings.scrub_days();
    };
    callbacks.register_server = [this] {
      ++registrations_;
      world_.At(absl::Milliseconds(5),
                [this] { gate_->Post([this] { heartbeater_->OnRegistered(); }); });
    };
    callbacks.on_fatal = [this](const absl::Status& status) { fatal_.push_back(status); };
    heartbeater_ = std::make_unique<Heartbeater>(
        HeartbeaterOptions{.zone = "z", .address = "127.0.0.1:7600", .incarnation = 7}, *executor_,
        world_, gate_, *store_, *identity_, FenceTable(), post_blocking, *copier_, *traffic_,
        streams_, std::move(callbacks));
    executor_->Post([this] { heartbeater_->Start(); });
    streams_.on_heartbeat = Answer;
  }
  void TearDown() override {
    copier_->Cancel();
    gate_->Close();
    executor_->Post([this] { heartbeater_->SayStopping(); });
    world_.RunFor(absl::Seconds(1));
    executor_.reset();
    heartbeater_.reset();
  }
  void Serve() { ASSERT_OK(RecoverChunks(*store_, nullptr).status()); }
  void Configure(const ShardConfig& config) {
    executor_->Post([this, config] { heartbeater_->OnConfiguration(config); });
    world_.RunFor(absl::Milliseconds(50));
  }
  v1::Command Delete(uint64_t id, ChunkHandle handle, uint64_t term) {
    v1::Command command;
    command.set_command_id(id);
    command.set_handle(handle.value());
    command.mutable_fence()->set_config_version(1);
    command.mutable_fence()->set_term(term);
    command.mutable_delete_replica()->set_cause(v1::Command::Delete::CAUSE_GARBAGE);
    return command;
  }
  std::vector<v1::CommandResult> Results() {
    std::vector<v1::CommandResult> out;
    for (const auto& stream : streams_.all) {
      for (const v1::Heartbeat& heartbeat : stream->received) {
        out.insert(out.end(), heartbeat.results().begin(), heartbeat.results().end());
      }
    }
    return out;
  }

  SimScheduler world_{1};
  MemFileSystem fs_;
  std::unique_ptr<ServerIdentity> identity_;
  std::shared_ptr<PostGate> gate_;
  std::unique_ptr<ChunkStore> store_;
  std::unique_ptr<Executor> disk_;
  std::unique_ptr<Executor> executor_;
  FakeStreams streams_;
  FakeSources sources_{world_};
  std::unique_ptr<ChunkCopier> copier_;
  std::unique_ptr<TrafficControl> traffic_;
  std::unique_ptr<Heartbeater> heartbeater_;
  int registrations_ = 0;
  uint32_t scrub_days_ = 0;
  std::vector<absl::Status> fatal_;
};

TEST_F(HeartbeaterTest, RegistersBeforeItHeartbeats) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  EXPECT_EQ(registrations_, 1);
  ASSERT_EQ(streams_.all.size(), 1u);
  const v1::Heartbeat& first = streams_.last().received.front();
  EXPECT_EQ(first.server_id(), kServer);
  EXPECT_EQ(first.cluster_id(), kCluster);
  EXPECT_EQ(first.boot_epoch(), 1u);
  EXPECT_EQ(first.incarnation(), 7u);
  EXPECT_EQ(first.sequence(), 1u);
  EXPECT_EQ(first.config_version(), 1u);
  EXPECT_EQ(first.capacity_bytes(), GiB(1));
  EXPECT_EQ(first.address(), "127.0.0.1:7600");
  EXPECT_EQ(first.health(), v1::SERVER_HEALTH_OK);
  EXPECT_EQ(first.shards_size(), 4) << "the full list of each shard, empty as it is";
}

TEST_F(HeartbeaterTest, BeatsAtEveryIntervalAndSaysLoadingDuringTheScan) {
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  world_.RunFor(absl::Seconds(12));
  ASSERT_EQ(streams_.last().received.size(), 3u);
  EXPECT_EQ(streams_.last().received.back().health(), v1::SERVER_HEALTH_LOADING);
  EXPECT_EQ(streams_.last().received.back().shards_size(), 0);
  Serve();
  world_.RunFor(absl::Milliseconds(50));
  ASSERT_EQ(streams_.last().received.size(), 4u) << "the lists go out as soon as they are known";
  EXPECT_EQ(streams_.last().received.back().shards_size(), 4);
  EXPECT_EQ(streams_.last().received.back().health(), v1::SERVER_HEALTH_OK);
}

TEST_F(HeartbeaterTest, ReportsAChangeAtOnce) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  const size_t before = streams_.last().received.size();
  ASSERT_OK(WriteChunk(*store_, ChunkHandle(ShardId(2), 5), "hello"));
  world_.RunFor(absl::Milliseconds(50));
  ASSERT_EQ(streams_.last().received.size(), before + 1);
  const v1::ShardReport& report = streams_.last().received.back().shards(0);
  EXPECT_EQ(report.shard(), 2u);
  EXPECT_EQ(report.replicas(0).length_bytes(), 5u);
}

TEST_F(HeartbeaterTest, ALongListWaitsForAnswersPageByPage) {
  Serve();
  streams_.on_heartbeat = nullptr;  // no answers
  Configure(OneGroup(1, {"127.0.0.1:7500"}, 3000));
  world_.RunFor(absl::Seconds(2));
  EXPECT_EQ(streams_.last().received.size(), GroupSession::kUnansweredMax);
  streams_.on_heartbeat = Answer;
  Answer(streams_.last(), streams_.last().received[0]);
  world_.RunFor(absl::Seconds(1));
  size_t shards = 0;
  for (const v1::Heartbeat& heartbeat : streams_.last().received) {
    EXPECT_LE(heartbeat.shards_size(), static_cast<int>(GroupSession::kShardsPerReportMax));
    shards += static_cast<size_t>(heartbeat.shards_size());
  }
  EXPECT_EQ(shards, 3000u);
}

TEST_F(HeartbeaterTest, FollowsTheHintToTheLeader) {
  Serve();
  streams_.on_heartbeat = [&](FakeStreams::Stream& stream, const v1::Heartbeat& heartbeat) {
    if (stream.address == "127.0.0.1:7502") {
      Answer(stream, heartbeat);
    } else {
      stream.events.on_end(NotLeaderError("127.0.0.1:7502"));
    }
  };
  Configure(OneGroup(1, {"127.0.0.1:7500", "127.0.0.1:7501", "127.0.0.1:7502"}));
  EXPECT_EQ(streams_.all.size(), 2u);
  EXPECT_EQ(streams_.last().address, "127.0.0.1:7502");
  EXPECT_TRUE(streams_.all.front()->gone);
}

TEST_F(HeartbeaterTest, TriesTheMastersInTurnWithGrowingPauses) {
  Serve();
  streams_.on_heartbeat = [&](FakeStreams::Stream& stream, const v1::Heartbeat&) {
    stream.events.on_end(absl::UnavailableError("connection refused"));
  };
  Configure(OneGroup(1, {"127.0.0.1:7500", "127.0.0.1:7501", "127.0.0.1:7502"}));
  world_.RunFor(absl::Seconds(60));
  EXPECT_GT(streams_.all.size(), 60u);
  EXPECT_LT(streams_.all.size(), 300u);
  std::set<std::string> asked;
  for (const auto& stream : streams_.all) {
    asked.insert(stream->address);
  }
  EXPECT_EQ(asked.size(), 3u);
}

TEST_F(HeartbeaterTest, ANewStreamSaysWhoSpeaksAndOffersWhatWasTold) {
  Serve();
  ASSERT_OK(WriteChunk(*store_, ChunkHandle(ShardId(1), 1), "hello"));
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  streams_.last().events.on_end(absl::UnavailableError("lost"));
  world_.RunFor(absl::Seconds(3));
  ASSERT_EQ(streams_.all.size(), 2u);
  const v1::Heartbeat& first = streams_.last().received.front();
  EXPECT_EQ(first.server_id(), kServer);
  EXPECT_EQ(first.shards_size(), 4);
  uint64_t count = 0;
  for (const v1::ShardReport& report : first.shards()) {
    EXPECT_TRUE(report.offer());
    EXPECT_EQ(report.replicas_size(), 0);
    count += report.replica_count();
  }
  EXPECT_EQ(count, 1u);
}

TEST_F(HeartbeaterTest, AnIdleHeartbeatTakesAtMost128Bytes) {
  Serve();
  for (uint64_t i = 1; i <= 20; ++i) {
    ASSERT_OK(WriteChunk(*store_, ChunkHandle(ShardId(static_cast<uint32_t>(i % 4)), i), "hello"));
  }
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  world_.RunFor(absl::Seconds(60));
  const v1::Heartbeat& idle = streams_.last().received.back();
  EXPECT_EQ(idle.shards_size(), 0);
  EXPECT_EQ(idle.server_id(), "") << "the first message has said it";
  EXPECT_EQ(idle.lists_replica_count(), 20u);
  EXPECT_TRUE(idle.has_lists_digest());
  // With all numbers as large as they get.
  v1::Heartbeat largest = idle;
  for (auto set : {&v1::Heartbeat::set_sequence, &v1::Heartbeat::set_config_version,
                   &v1::Heartbeat::set_capacity_bytes, &v1::Heartbeat::set_used_bytes,
                   &v1::Heartbeat::set_incoming_bytes, &v1::Heartbeat::set_lists_replica_count}) {
    (largest.*set)(~uint64_t{0});
  }
  largest.set_disk_utilization_pct(99.9);
  EXPECT_LE(largest.ByteSizeLong(), 128u);
}

TEST_F(HeartbeaterTest, AnswersQuestionsAboutItsLists) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  const auto answer_to = [&](auto&& ask) {
    v1::HeartbeatReply reply;
    ask(reply);
    streams_.last().events.on_reply(reply);
    world_.RunFor(absl::Milliseconds(50));
    return streams_.last().received.back().shards();
  };
  const auto list = answer_to([](auto& r) {
    r.add_resend_shards(3);
    r.add_resend_shards(999);  // not this group's
  });
  ASSERT_EQ(list.size(), 1);
  EXPECT_EQ(list[0].shard(), 3u);
  EXPECT_TRUE(list[0].full_begin());
  EXPECT_TRUE(answer_to([](auto& r) { r.add_resync_shards(3); })[0].all_buckets());
  EXPECT_TRUE(answer_to([](auto& r) { r.add_resend_buckets()->set_shard(3); })[0].whole_bucket());
  EXPECT_EQ(answer_to([](auto& r) { r.set_tell_digests(true); }).size(), 4);
}

TEST_F(HeartbeaterTest, GivesUpAMasterThatAnswersNothing) {
  Serve();
  streams_.on_heartbeat = nullptr;
  Configure(OneGroup(1, {"127.0.0.1:7500", "127.0.0.1:7501", "127.0.0.1:7502"}));
  world_.RunFor(absl::Seconds(30));
  ASSERT_GE(streams_.all.size(), 2u);
  EXPECT_TRUE(streams_.all.front()->gone);
  EXPECT_EQ(streams_.all[1]->address, "127.0.0.1:7501");
}

TEST_F(HeartbeaterTest, CarriesOutADeleteAndReportsIt) {
  Serve();
  const ChunkHandle handle(ShardId(1), 1);
  ASSERT_OK(WriteChunk(*store_, handle, "hello"));
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  v1::HeartbeatReply reply;
  *reply.add_commands() = Delete(11, handle, 5);
  streams_.last().events.on_reply(reply);
  world_.RunFor(absl::Milliseconds(100));
  ASSERT_EQ(Results().size(), 1u);
  EXPECT_EQ(Results()[0].command_id(), 11u);
  EXPECT_EQ(Results()[0].code(), 0u) << Results()[0].text();
  EXPECT_EQ(store_->Usage().chunk_count, 0u);
  ASSERT_OK_AND_ASSIGN(const FenceTable fences, identity_->LoadFences());
  EXPECT_EQ(fences.Highest(ShardId(1)), (FencePair{ConfigVersion(1), RaftTerm(5)}));
}

TEST_F(HeartbeaterTest, CopiesAChunkReportsItAndAnswersWithItsBytes) {
  Serve();
  const ChunkHandle handle(ShardId(1), 1);
  const std::string data = RandomBytes(700000, 1);
  sources_.scripts["127.0.0.1:1"].data = data;
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  v1::Command copy = Delete(11, handle, 5);
  v1::Command::Replicate& order = *copy.mutable_replicate();
  order.add_sources()->set_address("127.0.0.1:1");
  order.mutable_sources(0)->set_server_id(kServer);
  order.set_length_bytes(static_cast<uint32_t>(data.size()));
  order.set_crc32c(ComputeCrc32c(data).value);
  v1::HeartbeatReply reply;
  *reply.add_commands() = copy;
  streams_.last().events.on_reply(reply);
  world_.RunFor(absl::Milliseconds(200));
  ASSERT_EQ(Results().size(), 1u);
  EXPECT_EQ(Results()[0].code(), 0u) << Results()[0].text();
  EXPECT_EQ(Results()[0].bytes(), data.size());
  bool reported = false;
  for (const v1::Heartbeat& heartbeat : streams_.last().received) {
    for (const v1::ShardReport& report : heartbeat.shards()) {
      for (const v1::ReplicaReport& replica : report.replicas()) {
        reported = reported || (replica.handle() == handle.value() && replica.verified());
      }
    }
  }
  EXPECT_TRUE(reported);
}

TEST_F(HeartbeaterTest, ASlowCopyHoldsUpNeitherHeartbeatsNorOtherCommands) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  const ChunkHandle held(ShardId(2), 1);
  ASSERT_OK(WriteChunk(*store_, held, "hello"));
  sources_.scripts["127.0.0.1:1"].stall_after = 0;
  v1::HeartbeatReply reply;
  for (uint64_t i = 1; i <= 20; ++i) {  // more than may run
    v1::Command copy = Delete(i, ChunkHandle(ShardId(1), i), 5);
    v1::Command::Replicate& order = *copy.mutable_replicate();
    order.add_sources()->set_address("127.0.0.1:1");
    order.mutable_sources(0)->set_server_id(kServer);
    order.set_length_bytes(5);
    *reply.add_commands() = copy;
  }
  *reply.add_commands() = Delete(99, held, 5);
  streams_.last().events.on_reply(reply);
  const size_t before = streams_.last().received.size();
  world_.RunFor(absl::Seconds(15));
  EXPECT_EQ(copier_->running(), ChunkCopierOptions().copies_max);
  EXPECT_GE(streams_.last().received.size(), before + 3);
  ASSERT_EQ(Results().size(), 1u);
  EXPECT_EQ(Results()[0].command_id(), 99u);
  EXPECT_EQ(Results()[0].code(), 0u);
}

TEST_F(HeartbeaterTest, AKeepAnswersWhetherTheReplicaIsStillHere) {
  Serve();
  const ChunkHandle held(ShardId(1), 1);
  ASSERT_OK(WriteChunk(*store_, held, "hello"));
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  v1::HeartbeatReply reply;
  *reply.add_commands() = Delete(1, held, 5);  // waits for its fence, so it can still be cancelled
  v1::Command keep = Delete(2, held, 6);
  keep.mutable_keep();
  *reply.add_commands() = keep;
  keep.set_command_id(3);
  keep.set_handle(ChunkHandle(ShardId(1), 2).value());
  *reply.add_commands() = keep;
  streams_.last().events.on_reply(reply);
  world_.RunFor(absl::Milliseconds(200));
  ASSERT_EQ(Results().size(), 3u);
  for (const v1::CommandResult& result : Results()) {
    if (result.command_id() == 1) {
      EXPECT_NE(result.code(), 0u);
    } else if (result.command_id() == 2) {
      EXPECT_EQ(result.code(), 0u) << result.text();
    } else {
      EXPECT_EQ(result.reason(), v1::REASON_CHUNK_NOT_FOUND);
    }
  }
  EXPECT_EQ(store_->Usage().chunk_count, 1u);
  ASSERT_OK_AND_ASSIGN(const FenceTable fences, identity_->LoadFences());
  EXPECT_EQ(fences.Highest(ShardId(1)), (FencePair{ConfigVersion(1), RaftTerm(6)}));
}

TEST_F(HeartbeaterTest, CommandsGoOnWhenAFullDiskTakesTheFencesAgain) {
  Serve();
  const ChunkHandle held(ShardId(1), 1);
  ASSERT_OK(WriteChunk(*store_, held, "hello"));
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  ASSERT_OK_AND_ASSIGN(const SpaceInfo space, fs_.Space("/"));
  fs_.SetSpace(space.capacity_bytes - space.free_bytes);
  v1::HeartbeatReply reply;
  *reply.add_commands() = Delete(1, held, 5);
  streams_.last().events.on_reply(reply);
  world_.RunFor(absl::Seconds(2));
  EXPECT_TRUE(Results().empty()) << "nothing is done under a fence that is not durable";
  EXPECT_EQ(store_->Usage().chunk_count, 1u);
  fs_.SetSpace(GiB(1));
  reply.clear_commands();
  *reply.add_commands() = Delete(2, held, 5);  // its master gives it again
  streams_.last().events.on_reply(reply);
  world_.RunFor(absl::Seconds(2));
  EXPECT_EQ(Results().size(), 2u);
  EXPECT_EQ(store_->Usage().chunk_count, 0u);
  ASSERT_OK_AND_ASSIGN(const FenceTable fences, identity_->LoadFences());
  EXPECT_EQ(fences.Highest(ShardId(1)), (FencePair{ConfigVersion(1), RaftTerm(5)}));
}

TEST_F(HeartbeaterTest, RefusesADeposedLeadersDelete) {
  Serve();
  const ChunkHandle handle(ShardId(1), 1);
  ASSERT_OK(WriteChunk(*store_, handle, "hello"));
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  v1::HeartbeatReply reply;
  v1::Command verify = Delete(1, handle, 6);
  verify.mutable_verify();
  *reply.add_commands() = verify;
  *reply.add_commands() = Delete(2, handle, 5);
  streams_.last().events.on_reply(reply);
  world_.RunFor(absl::Milliseconds(100));
  ASSERT_EQ(Results().size(), 2u);
  EXPECT_EQ(store_->Usage().chunk_count, 1u);
  for (const v1::CommandResult& result : Results()) {
    EXPECT_EQ(result.reason(), result.command_id() == 2 ? v1::REASON_STALE_FENCE : 0);
  }
}

TEST_F(HeartbeaterTest, DeletesNothingWhileFencesCannotBeStored) {
  Serve();
  const ChunkHandle handle(ShardId(1), 1);
  ASSERT_OK(WriteChunk(*store_, handle, "hello"));
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  fs_.FailSyncs("fences");
  v1::HeartbeatReply reply;
  *reply.add_commands() = Delete(11, handle, 5);
  streams_.last().events.on_reply(reply);
  world_.RunFor(absl::Seconds(10));
  EXPECT_TRUE(Results().empty());
  EXPECT_EQ(store_->Usage().chunk_count, 1u);
}

TEST_F(HeartbeaterTest, RegistersAgainWhenTheMasterDoesNotKnowIt) {
  Serve();
  int refused = 0;
  streams_.on_heartbeat = [&](FakeStreams::Stream& stream, const v1::Heartbeat& heartbeat) {
    if (refused < 3) {
      ++refused;
      stream.events.on_end(MakeError(v1::REASON_UNKNOWN_SERVER, "who?"));
    } else {
      Answer(stream, heartbeat);
    }
  };
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  world_.RunFor(absl::Seconds(10));
  EXPECT_GT(registrations_, 1);
  EXPECT_TRUE(fatal_.empty());
  EXPECT_FALSE(streams_.last().gone);
}

TEST_F(HeartbeaterTest, StopsForGoodWhenAnotherHoldsItsIdOrItIsStale) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  for (const v1::Reason reason :
       {v1::REASON_DUPLICATE_SERVER, v1::REASON_STALE_BOOT, v1::REASON_WRONG_CLUSTER}) {
    streams_.last().events.on_end(MakeError(reason, "stop"));
    world_.RunFor(absl::Seconds(30));
  }
  ASSERT_EQ(fatal_.size(), 1u) << "said once";
  EXPECT_EQ(ReasonOf(fatal_[0]), v1::REASON_DUPLICATE_SERVER);
  EXPECT_EQ(streams_.all.size(), 1u) << "no further stream";
}

TEST_F(HeartbeaterTest, KeepsOneStreamToEveryGroupAndFollowsConfigurations) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  ShardConfig two = OneGroup(2, {"127.0.0.1:7500"});
  two.groups.push_back(
      GroupMembers{.group = GroupId(2),
                   .masters = {MasterEndpoint{.node = NodeId(1), .address = "127.0.0.1:7510"}}});
  two.owners[3] = GroupId(2);
  Configure(two);
  ASSERT_EQ(streams_.all.size(), 2u);
  EXPECT_EQ(streams_.last().address, "127.0.0.1:7510");
  ASSERT_EQ(streams_.last().received.front().shards_size(), 1);
  EXPECT_EQ(streams_.last().received.front().shards(0).shard(), 3u);
  EXPECT_FALSE(streams_.all.front()->gone);
  // What becomes of the shard that moved is the new group's business alone.
  const size_t before = streams_.all.front()->received.size();
  ASSERT_OK(WriteChunk(*store_, ChunkHandle(ShardId(3), 1), "x"));
  world_.RunFor(absl::Milliseconds(50));
  EXPECT_EQ(streams_.all.front()->received.size(), before);
  EXPECT_EQ(streams_.last().received.back().shards(0).replicas_size(), 1);
  Configure(OneGroup(3, {"127.0.0.1:7500"}));
  EXPECT_TRUE(streams_.last().gone);
}

TEST_F(HeartbeaterTest, SaysGoodBye) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  executor_->Post([this] { heartbeater_->SayStopping(); });
  world_.RunFor(absl::Seconds(20));
  EXPECT_EQ(streams_.last().received.back().health(), v1::SERVER_HEALTH_STOPPING);
  EXPECT_TRUE(streams_.last().closed_by_server);
  const size_t sent = streams_.last().received.size();
  streams_.last().events.on_end(absl::OkStatus());
  world_.RunFor(absl::Seconds(20));
  EXPECT_EQ(streams_.last().received.size(), sent);
  EXPECT_EQ(streams_.all.size(), 1u);
}

TEST_F(HeartbeaterTest, TakesTheIntervalFromTheRegistryAtOnce) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  v1::Registry registry;
  registry.mutable_settings()->set_heartbeat_interval_ms(200);
  executor_->Post([this, registry] { heartbeater_->OnRegistry(registry); });
  world_.RunFor(absl::Seconds(2));
  EXPECT_GE(streams_.last().received.size(), 9u);
}

TEST_F(HeartbeaterTest, AShorterIntervalMakesNoStreamLookSilent) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  for (const uint32_t interval_ms : {60'000u, 1'000u}) {
    v1::Registry registry;
    registry.mutable_settings()->set_heartbeat_interval_ms(interval_ms);
    executor_->Post([this, registry] { heartbeater_->OnRegistry(registry); });
    world_.RunFor(absl::Seconds(40));
  }
  EXPECT_EQ(streams_.all.size(), 1u);
}

TEST_F(HeartbeaterTest, TheSpaceUsedIsNoOlderThanTheIntervalOfTheRegistry) {
  Serve();
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  v1::Registry registry;
  registry.mutable_settings()->set_heartbeat_interval_ms(200);
  executor_->Post([this, registry] { heartbeater_->OnRegistry(registry); });
  world_.RunFor(absl::Milliseconds(50));
  ASSERT_OK(WriteChunk(*store_, ChunkHandle(ShardId(1), 1), "hello"));
  world_.RunFor(absl::Milliseconds(400));
  EXPECT_EQ(streams_.last().received.back().used_bytes(), store_->Usage().used_bytes);
  EXPECT_GT(streams_.last().received.back().used_bytes(), 0u);
}

TEST_F(HeartbeaterTest, CopiesKeepWithinTheSettingsAndFollowThemWhileTheyRun) {
  Serve();
  const std::string data = RandomBytes(MiB(8), 1);
  sources_.scripts["127.0.0.1:1"].data = data;
  Configure(OneGroup(1, {"127.0.0.1:7500"}));
  v1::Registry registry;
  registry.mutable_settings()->set_heartbeat_interval_ms(5000);
  registry.mutable_settings()->set_scrub_days(3);
  registry.mutable_settings()->set_repair_server_mbps(100);
  registry.mutable_settings()->set_repair_total_mbps(4);
  executor_->Post([this, registry] { heartbeater_->OnRegistry(registry); });
  v1::Command copy = Delete(11, ChunkHandle(ShardId(1), 1), 5);
  v1::Command::Replicate& order = *copy.mutable_replicate();
  order.add_sources()->set_address("127.0.0.1:1");
  order.mutable_sources(0)->set_server_id(kServer);
  order.set_length_bytes(static_cast<uint32_t>(data.size()));
  order.set_crc32c(ComputeCrc32c(data).value);
  order.set_traffic(v1::TRAFFIC_CLASS_REPAIR);
  order.set_total_share_ppm(250'000);  // 1 MB/s: 8.4 s for the chunk
  v1::HeartbeatReply reply;
  *reply.add_commands() = copy;
  streams_.last().events.on_reply(reply);
  world_.RunFor(absl::Seconds(4));
  EXPECT_EQ(scrub_days_, 3u);
  EXPECT_TRUE(Results().empty());
  registry.mutable_settings()->set_repair_total_mbps(0);
  executor_->Post([this, registry] { heartbeater_->OnRegistry(registry); });
  world_.RunFor(absl::Seconds(1));
  ASSERT_EQ(Results().size(), 1u);
  EXPECT_EQ(Results()[0].code(), 0u) << Results()[0].text();
}

}  // namespace
}  // namespace ballast::chunkserver
