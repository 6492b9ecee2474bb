// SPDX-License-Identifier: Apache-2.0
// The guarantees of CopyTable in random histories; a failure names its seed.
#include <cstdint>
#include <iterator>
#include <map>
#include <vector>

#include "common/base/rng.h"
#include "common/types/error.h"
#include "gtest/gtest.h"
#include "services/master/core/copy_table.h"
#include "tests/unit/master/core/fake_copy_view.h"

namespace ballast::master {
namespace {

// Servers come, go, restart, lie about results, lose and verify replicas; the log accepts, refuses
// and is late. After every step the guarantees hold, and in the end every task has ended.
class RandomCopies {
 public:
  static constexpr uint32_t kServers = 7;
  static constexpr uint64_t kChunks = 5;

  explicit RandomCopies(uint64_t seed) : rng_(seed) {
    for (uint64_t s = 1; s <= kChunks; ++s) {
      view_.Chunk(ChunkHandle(ShardId(0), s), 1 + static_cast<uint32_t>(rng_.Below(4)));
      for (int i = 0; i < 3; ++i) view_.Put(AnyChunk(), AnyServer()).verified = rng_.OneIn(2);
    }
  }

  void Run(int events) {
    for (int i = 0; i < events; ++i) {
      Event();
      now_ += static_cast<double>(rng_.Below(20));
      Step();
    }
    // Quiet: nothing answers any more.
    for (int i = 0; i < 1000 && !table_.empty(); ++i) {
      now_ += 100;
      view_.under_way.clear();
      for (auto& [server, standing] : view_.servers) ++standing.heartbeat_count;
      const auto logs = logs_;
      for (const auto& log : logs) Logged(log, absl::OkStatus());
      Step();
    }
    EXPECT_TRUE(table_.empty());
    EXPECT_TRUE(running_.empty());
    EXPECT_EQ(offered_, ended_);
    EXPECT_GT(trimmed_, 0) << "the history reached no trim";
  }

 private:
  ChunkHandle AnyChunk() { return ChunkHandle(ShardId(0), 1 + rng_.Below(kChunks)); }
  uint32_t AnyServer() { return 1 + static_cast<uint32_t>(rng_.Below(kServers)); }

  void Event() {
    const ChunkHandle handle = AnyChunk();
    const uint32_t server = AnyServer();
    const auto replica = view_.replicas.find({handle, ServerIndex(server)});
    switch (rng_.Below(16)) {
      case 0:
      case 1:
      case 2: {
        const CopyTask task{handle, ServerIndex(server),
                            ServerIndex(rng_.OneIn(4) ? 0 : AnyServer())};
        const auto id = table_.Offer(task, Now());
        if (id.ok()) ++offered_;
        return;
      }
      case 3:
        view_.Server(server).liveness =
            rng_.OneIn(3) ? LivenessState::kDead : LivenessState::kSuspect;
        return;
      case 4:
        for (uint32_t s = 1; s <= kServers; ++s) view_.Server(s).liveness = LivenessState::kAlive;
        return;
      case 5:
        ++view_.Server(server).holder->boot_epoch;
        return;
      case 6:
        if (!view_.incomplete.insert(ServerIndex(server)).second) view_.incomplete.clear();
        return;
      case 7:
        if (replica != view_.replicas.end()) view_.replicas.erase(replica);
        return;
      case 8:
        if (replica != view_.replicas.end()) replica->second.verified = rng_.OneIn(2);
        return;
      case 9:
        view_.Server(server).heartbeat_count += 2;
        view_.under_way.clear();
        return;
      case 10:
        for (auto& [place, standing] : view_.replicas) standing.verified = true;
        return;
      case 11:
        if (!logs_.empty()) {
          Logged(logs_[rng_.Below(logs_.size())],
                 rng_.OneIn(4) ? MakeError(v1::REASON_OVERLOADED, "") : absl::OkStatus());
        }
        return;
      default:
        Answer();
    }
  }
  // Some target answers some order, mostly the truth.
  void Answer() {
    if (orders_.empty()) return;
    const auto& [command, order] = *std::next(orders_.begin(), rng_.Below(orders_.size()));
    const bool done = !rng_.OneIn(5);
    if (done && !rng_.OneIn(6)) {
      auto& replica = view_.replicas[{order.task.handle, order.task.target}];
      if (!replica.trimmed) {
        view_.Put(order.task.handle, order.task.target.value()).verified = !rng_.OneIn(4);
      }
    }
    view_.under_way.erase({order.task.target, OrderKind::kReplicate, order.task.handle});
    table_.OnResult(order.task.target, command, done ? absl::OkStatus() : absl::InternalError(""),
                    10);
  }
  void Logged(CopyEffects::Log log, const absl::Status& status) {
    std::erase_if(logs_, [&](const auto& other) { return other.copy == log.copy; });
    if (status.ok() && log.trim != ServerIndex(0)) view_.Trim(log.handle, log.trim.value());
    table_.OnLogged(log.copy, status);
  }
  void Step() {
    CopyEffects effects;
    table_.Step(view_, Now(), effects);
    for (const auto& finished : effects.finished) {
      ++ended_;
      std::erase_if(running_, [&](const auto& r) { return r.second == finished.copy; });
    }
    for (const auto& order : effects.replicates) {
      if (order.is_first) {
        EXPECT_TRUE(running_.emplace(order.task.handle, order.copy).second)
            << "two copies of " << order.task.handle;
        EXPECT_EQ(view_.HeldBytes(order.task.target, order.task.handle), std::nullopt);
      }
      EXPECT_FALSE(order.sources.empty());
      view_.under_way.insert({order.task.target, OrderKind::kReplicate, order.task.handle});
      table_.OnOrdered(order.copy, ++command_);
      orders_[command_] = order;
    }
    for (const auto& log : effects.logs) Check(log);
  }
  void Check(const CopyEffects::Log& log) {
    logs_.push_back(log);
    if (log.trim == ServerIndex(0)) return;
    ++trimmed_;
    const ChunkStanding chunk = *view_.FindChunk(log.handle);
    uint32_t firm = 0;
    for (const ReplicaStanding& replica : chunk.replicas) {
      firm += replica.server != log.trim && replica.firm() ? 1 : 0;
    }
    EXPECT_GE(log.keep, 1u);
    EXPECT_LE(log.keep, chunk.facts.wanted_replicas);
    EXPECT_GE(firm, log.keep);
    EXPECT_NE(log.add, log.trim);
  }
  SteadyTime Now() const { return SteadyTime::FromOrigin(absl::Seconds(now_)); }

  Rng rng_;
  FakeCopyView view_;
  CopyTable table_;
  double now_ = 1;
  uint64_t command_ = 0;
  std::map<uint64_t, CopyEffects::Replicate> orders_;
  std::map<ChunkHandle, CopyId> running_;
  std::vector<CopyEffects::Log> logs_;
  int offered_ = 0;
  int ended_ = 0;
  int trimmed_ = 0;
};

TEST(CopyTableRandomTest, NoHistoryBreaksAGuaranteeAndEveryTaskEnds) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    RandomCopies(seed).Run(2000);
  }
}

}  // namespace
}  // namespace ballast::master
