// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/routing/replica_digest.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"
#include "gtest/gtest.h"
#include "services/master/control/config_poller.h"
#include "services/master/control/copy_engine.h"
#include "services/master/control/heartbeat_intake.h"
#include "services/master/control/live_view.h"
#include "services/master/control/maintenance_loop.h"
#include "services/master/control/proposer.h"
#include "services/master/control/rebalance_loop.h"
#include "services/master/control/repair_loop.h"
#include "tests/support/local_log.h"
#include "tests/support/sim_scheduler.h"
#include "tests/support/status_matchers.h"

namespace ballast::master {

// A chunk server as far as heartbeats go: holds replicas, reports them, carries commands out.
class FakeChunkServer final : public HeartbeatSink {
 public:
  FakeChunkServer(HeartbeatIntake& intake, uint32_t index)
      : intake_(intake), index_(index), id_(absl::StrCat("server-", index)) {}

  const std::string& id() const { return id_; }
  ServerIndex index() const { return ServerIndex(index_); }
  bool Holds(ChunkHandle handle) const { return held_.count(handle) > 0; }

  void Connect() {
    stream_ = intake_.OnStreamBegan(this);
    full_list_due_ = true;
    closed_.reset();
  }
  void Disconnect() { intake_.OnStreamEnded(std::exchange(stream_, 0)); }
  bool connected() const { return stream_ != 0; }
  uint64_t stream() const { return stream_; }
  // Something to say before the next heartbeat is due.
  bool HasNews() const { return !results_.empty() || !changed_.empty() || !removed_.empty(); }
  // The next heartbeat lists everything.
  void BeginFullList() { full_list_due_ = true; }
  // How the master ended the stream, if it did.
  const std::optional<absl::Status>& closed() const { return closed_; }

  void Put(ChunkHandle handle, ReplicaFacts facts = {1000, 7, false}, bool verified = true) {
    held_[handle] = facts;
    verified_[handle] = verified;
    changed_.push_back(handle);
  }
  void Lose(ChunkHandle handle) {
    held_.erase(handle);
    removed_.push_back(handle);
  }

  v1::Heartbeat MakeHeartbeat(uint32_t shard_count) {
    v1::Heartbeat heartbeat;
    heartbeat.set_cluster_id("cluster");
    heartbeat.set_server_id(id_);
    heartbeat.set_boot_epoch(boot_epoch);
    heartbeat.set_incarnation(incarnation);
    heartbeat.set_sequence(++sequence_);
    heartbeat.set_capacity_bytes(capacity_bytes);
    uint64_t used = 0;
    for (const auto& [handle, facts] : held_) used += is_small ? facts.length_bytes : 0;
    heartbeat.set_used_bytes(used);
    heartbeat.set_disk_utilization_pct(
        std::min(100.0, 100.0 * static_cast<double>(used) / static_cast<double>(capacity_bytes)));
    heartbeat.set_health(health);
    heartbeat.set_address(absl::StrCat("127.0.0.1:", 7600 + index_));
    for (uint32_t shard = 0; shard < shard_count; ++shard) {
      v1::ShardReport report = MakeReport(ShardId(shard));
      if (full_list_due_ || report.replicas_size() + report.removed_handles_size() > 0) {
        *heartbeat.add_shards() = std::move(report);
      }
    }
    for (const auto& result : results_) *heartbeat.add_results() = result;
    full_list_due_ = false;
    changed_.clear();
    removed_.clear();
    results_.clear();
    return heartbeat;
  }
  void Beat(uint32_t shard_count) {
    intake_.OnStreamHeartbeat(stream_, std::make_shared<v1::Heartbeat>(MakeHeartbeat(shard_count)));
  }
  // A whole report by a unary call, carried out when answered.
  void BeatUnary(uint32_t shard_count) {
    full_list_due_ = true;
    intake_.OnUnaryHeartbeat(std::make_shared<v1::Heartbeat>(MakeHeartbeat(shard_count)),
                             [this](absl::StatusOr<v1::HeartbeatReply> reply) {
                               if (reply.ok()) {
                                 CarryOut(*reply);
                               } else {
                                 closed_ = reply.status();
                               }
                             });
  }

  // --- HeartbeatSink ---
  void Answer(v1::HeartbeatReply reply) override {
    ++answers;
    last_answer = reply;
    CarryOut(reply);
  }
  bool Push(v1::HeartbeatReply reply) override {
    EXPECT_EQ(reply.sequence(), 0u);
    CarryOut(reply);
    return true;
  }
  void Close(const absl::Status& status) override {
    stream_ = 0;
    closed_ = status;
  }

  uint64_t boot_epoch = 1;
  uint64_t incarnation = 1000;
  v1::ServerHealth health = v1::SERVER_HEALTH_OK;
  bool obeys = true;  // carries commands out
  uint64_t capacity_bytes = uint64_t{1} << 40;
  bool is_small = false;      // so that what it holds shows in its used bytes
  bool no_placement = false;  // as registered
  int answers = 0;
  v1::HeartbeatReply last_answer;
  int resends = 0;  // times a full list was asked for
  std::vector<v1::Command> commands;
  std::map<v1::Command::OrderCase, v1::Reason> refusals;  // what it cannot do, and why

 private:
  v1::ShardReport MakeReport(ShardId shard) const {
    v1::ShardReport report;
    report.set_shard(shard.value());
    report.set_full_begin(full_list_due_);
    report.set_full_end(full_list_due_);
    ReplicaDigest digest;
    uint64_t count = 0;
    for (const auto& [handle, facts] : held_) {
      if (handle.shard() != shard) continue;
      digest.Add(handle, facts);
      ++count;
      const bool changed = std::find(changed_.begin(), changed_.end(), handle) != changed_.end();
      if (!full_list_due_ && !changed) continue;
      v1::ReplicaReport& replica = *report.add_replicas();
      replica.set_handle(handle.value());
      replica.set_length_bytes(facts.length_bytes);
      replica.set_crc32c(facts.crc32c);
      replica.set_corrupt(facts.corrupt);
      replica.set_verified(verified_.at(handle));
    }
    for (ChunkHandle handle : removed_) {
      if (handle.shard() == shard && !full_list_due_) report.add_removed_handles(handle.value());
    }
    report.set_digest(digest.value());
    report.set_replica_count(count);
    return report;
  }
  void CarryOut(const v1::HeartbeatReply& reply) {
    // It answers every question about its lists with the whole of them.
    if (reply.resend_shards_size() + reply.resync_shards_size() > 0) {
      ++resends;
      full_list_due_ = true;
    }
    for (const v1::Command& command : reply.commands()) {
      commands.push_back(command);
      const ChunkHandle handle(command.handle());
      if (!obeys) continue;
      results_.push_back(ResultOf(command));
    }
  }
  v1::CommandResult ResultOf(const v1::Command& command) {
    const ChunkHandle handle(command.handle());
    v1::CommandResult result;
    result.set_command_id(command.command_id());
    result.set_handle(command.handle());
    const bool fails = refusals.contains(command.order_case());
    if (fails || (command.has_keep() && !Holds(handle))) {
      const v1::Reason reason = fails ? refusals[command.order_case()] : v1::REASON_CHUNK_NOT_FOUND;
      result.set_code(static_cast<uint32_t>(CodeOf(reason)));
      result.set_reason(reason);
      result.set_text("as the test wants");
    } else if (command.has_delete_replica() && Holds(handle)) {
      Lose(handle);
    } else if (command.has_replicate() && !Holds(handle)) {
      Put(handle, {command.replicate().length_bytes(), command.replicate().crc32c(), false});
      result.set_bytes(command.replicate().length_bytes());
    }
    return result;
  }

  HeartbeatIntake& intake_;
  const uint32_t index_;
  const std::string id_;
  uint64_t stream_ = 0;
  uint64_t sequence_ = 0;
  bool full_list_due_ = true;
  std::optional<absl::Status> closed_;
  std::map<ChunkHandle, ReplicaFacts> held_;
  std::map<ChunkHandle, bool> verified_;
  std::vector<ChunkHandle> changed_;
  std::vector<ChunkHandle> removed_;
  std::vector<v1::CommandResult> results_;
};

// A leading master without its network, in virtual time, and its chunk servers. Nothing is repaired
// or rebalanced unless the test wants it.
class HeartbeatWorld : public ::testing::Test {
 protected:
  static constexpr uint32_t kShards = 4;

  static RepairLimits NoRepair() {
    RepairLimits limits;
    limits.offers_max = 0;
    return limits;
  }

  explicit HeartbeatWorld(RepairLimits repair = NoRepair())
      : executor_(sim_.MakeExecutor()),
        machine_(GroupId(1), kShards),
        log_(*executor_, machine_),
        proposer_(*executor_, sim_, machine_),
        view_(sim_, machine_, 1),
        intake_(*executor_, view_, "cluster"),
        poller_(*executor_, view_, intake_, proposer_),
        copies_(*executor_, view_, intake_, proposer_),
        pictures_(view_),
        copy_desk_(view_, copies_),
        repair_(*executor_, view_, pictures_, copy_desk_, intake_, proposer_, 1, repair),
        rebalance_(*executor_, view_, pictures_, copy_desk_),
        loop_(*executor_, view_, intake_, proposer_, copies_, repair_, rebalance_) {
    settings_.set_rebalance_auto(2);
    proposer_.Attach(&log_);
    proposer_.OnRole(log_.state());
    view_.BeginTerm(RaftTerm(1));
    loop_.Start();
  }

  // The registry names servers 1..count and each has a stream that beats every interval.
  void StartServers(uint32_t count) {
    for (uint32_t i = 1; i <= count; ++i) {
      servers_.push_back(std::make_unique<FakeChunkServer>(intake_, i));
    }
    SetRegistry();
    Configure(1);
    for (auto& server : servers_) {
      server->Connect();
      KeepBeating(*server);
    }
    sim_.RunFor(absl::Seconds(1));
  }
  void SetRegistry(std::map<uint32_t, v1::ServerState> states = {}) {
    v1::Registry registry;
    registry.set_version(++registry_version_);
    for (const auto& server : servers_) {
      v1::RegisteredServer& entry = *registry.add_servers();
      entry.set_server_id(server->id());
      entry.set_server_index(server->index().value());
      entry.set_address("127.0.0.1:1");
      entry.set_zone(absl::StrCat("zone", server->index().value()));
      const auto state = states.find(server->index().value());
      entry.set_state(state == states.end() ? v1::SERVER_STATE_ACTIVE : state->second);
      entry.set_boot_epoch(1);
      entry.set_name(absl::StrCat("name-", server->index().value()));
      entry.set_no_placement(server->no_placement);
    }
    *registry.mutable_settings() = settings_;
    poller_.OnRegistry(registry);
  }
  void Configure(uint64_t version) {
    ShardConfig config;
    config.version = ConfigVersion(version);
    config.owners.assign(kShards, GroupId(1));
    poller_.OnConfiguration(config);
    sim_.RunFor(absl::Milliseconds(10));
  }
  void KeepBeating(FakeChunkServer& server) {
    sim_.At(absl::Milliseconds(1), [this, &server] { BeatAndAgain(server); });
  }
  void BeatAndAgain(FakeChunkServer& server) {
    if (!server.connected()) return;
    if (!muted_[server.index().value()]) server.Beat(kShards);
    sim_.At(absl::Seconds(5), [this, &server] { BeatAndAgain(server); });
  }

  FakeChunkServer& server(uint32_t index) { return *servers_[index - 1]; }
  v1::ServerStatus status(uint32_t index) { return view_.ServerStatuses()[index - 1]; }

  // Clients' commands belong to a session of shard 0.
  mlog::Result Apply(mlog::Command command) {
    if (session_ == 0) {
      mlog::Command open;
      open.mutable_open_session();
      session_ = Propose(open).session_id();
    }
    command.mutable_request()->set_session_id(session_);
    command.mutable_request()->set_sequence(++request_);
    command.mutable_request()->set_first_incomplete(request_);
    return Propose(std::move(command));
  }
  mlog::Result Propose(mlog::Command command) {
    std::optional<absl::StatusOr<mlog::Result>> outcome;
    proposer_.Propose(std::move(command),
                      [&](absl::StatusOr<mlog::Result> r) { outcome = std::move(r); });
    sim_.RunUntilTrue([&] { return outcome.has_value(); }, absl::Seconds(1));
    EXPECT_TRUE(outcome.has_value() && outcome->ok());
    return outcome.has_value() && outcome->ok() ? **outcome : mlog::Result();
  }
  static std::string KeyOfShardZero() {
    for (int i = 0;; ++i) {
      const std::string key = absl::StrCat("key", i);
      if (ShardOfKey(key, kShards) == ShardId(0)) return key;
    }
  }
  struct Written {
    uint64_t draft = 0;
    ChunkHandle handle;
  };
  Written Begin() {
    mlog::Command begin;
    auto& op = *begin.mutable_begin_write();
    op.set_key(KeyOfShardZero());
    op.set_wanted_replicas(3);
    op.set_required_replicas(1);
    op.set_chunk_count(1);
    op.set_expiry_ms(3600'000);
    const mlog::Result result = Apply(begin);
    EXPECT_EQ(result.text(), "");
    return {result.draft_id(), ChunkHandle(ShardId(0), result.allocated().first_sequence())};
  }
  void Seal(const Written& written, const std::vector<uint32_t>& servers) {
    mlog::Command seal;
    seal.mutable_seal_chunks()->set_draft_id(written.draft);
    auto& chunk = *seal.mutable_seal_chunks()->add_chunks();
    chunk.set_handle(written.handle.value());
    chunk.set_length_bytes(1000);
    chunk.set_crc32c(7);
    for (uint32_t s : servers) chunk.add_server_indexes(s);
    EXPECT_EQ(Apply(seal).text(), "");
  }
  // A chunk that servers hold and the log knows.
  Written Store(const std::vector<uint32_t>& servers) {
    const Written written = Begin();
    for (uint32_t s : servers) server(s).Put(written.handle);
    Seal(written, servers);
    return written;
  }
  void Abort(const Written& written) {
    mlog::Command abort;
    abort.mutable_abort_write()->set_draft_id(written.draft);
    Apply(abort);
  }
  std::vector<uint32_t> Readable(ChunkHandle handle) {
    std::vector<uint32_t> servers;
    for (const auto& l : view_.LiveReplicas(handle, *machine_.FindChunk(handle))) {
      servers.push_back(l.server_index());
    }
    return servers;
  }
  std::vector<uint32_t> Logged(ChunkHandle handle) {
    std::vector<uint32_t> servers;
    for (ServerIndex s : machine_.FindChunk(handle)->LoggedServers()) servers.push_back(s.value());
    return servers;
  }
  // Another term of this node.
  void LeadAnew() {
    copies_.EndTerm(NotLeaderError("127.0.0.1:9"));
    view_.EndTerm();
    intake_.DropAll(NotLeaderError("127.0.0.1:9"));
    log_.SetRole(ReplicatedLog::Role::kLeader);
    proposer_.OnRole(log_.state());
    view_.BeginTerm(log_.state().term);
  }

  testing::SimScheduler sim_{1};
  std::unique_ptr<Executor> executor_;
  MasterMachine machine_;
  testing::LocalLog log_;
  Proposer proposer_;
  LiveView view_;
  HeartbeatIntake intake_;
  ConfigPoller poller_;
  CopyEngine copies_;
  ClusterPictures pictures_;
  CopyDesk copy_desk_;
  RepairLoop repair_;
  RebalanceLoop rebalance_;
  MaintenanceLoop loop_;
  v1::Settings settings_ = DefaultSettings();
  std::vector<std::unique_ptr<FakeChunkServer>> servers_;
  std::map<uint32_t, bool> muted_;
  uint64_t registry_version_ = 0;
  uint64_t session_ = 0;
  uint64_t request_ = 0;
};

}  // namespace ballast::master
