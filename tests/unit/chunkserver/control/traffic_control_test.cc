// SPDX-License-Identifier: Apache-2.0
// Limits as copies and streams meet them, in virtual time.
#include "services/chunkserver/control/traffic_control.h"

#include <deque>
#include <functional>

#include "common/types/limits.h"
#include "gtest/gtest.h"
#include "services/chunkserver/control/gate_chain.h"
#include "tests/support/sim_scheduler.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::SimScheduler;

constexpr uint64_t kMegabyte = 1'000'000;

struct Passed {
  SteadyTime at;
  uint64_t bytes;
};

// Bytes of several askers together, as they pass.
class Meter {
 public:
  explicit Meter(SimScheduler& world) : world_(world) {}
  void Add(uint64_t bytes) { passed_.push_back(Passed{.at = world_.SteadyNow(), .bytes = bytes}); }
  uint64_t Sum() const {
    uint64_t sum = 0;
    for (const Passed& passed : passed_) {
      sum += passed.bytes;
    }
    return sum;
  }
  // The most in any window of one second that begins at `from` or later.
  uint64_t WorstSecond(SteadyTime from = SteadyTime()) const {
    uint64_t worst = 0;
    uint64_t inside = 0;
    size_t first = 0;
    for (const Passed& passed : passed_) {
      if (passed.at < from) {
        ++first;
        continue;
      }
      inside += passed.bytes;
      while (passed_[first].at <= passed.at - absl::Seconds(1)) {
        inside -= passed_[first++].bytes;
      }
      worst = std::max(worst, inside);
    }
    return worst;
  }
  void Clear() { passed_.clear(); }

 private:
  SimScheduler& world_;
  std::deque<Passed> passed_;
};

// Who always has more to move: asks for a piece, moves it, which takes a moment, asks again.
class Mover {
 public:
  Mover(SimScheduler& world, Executor& executor, std::shared_ptr<TrafficGate> gate,
        std::vector<Meter*> meters)
      : world_(world), executor_(executor), gate_(std::move(gate)), meters_(std::move(meters)) {
    executor_.Post([this] { Ask(); });
  }
  void Stop() { stopped_ = true; }

 private:
  void Ask() {
    if (stopped_) {
      return;
    }
    bytes_ = gate_->PieceBytes();
    if (!gate_->Ask(bytes_, [this] { Move(); }).has_value()) {
      Move();
    }
  }
  void Move() {
    for (Meter* meter : meters_) {
      meter->Add(bytes_);
    }
    const absl::Duration takes = absl::Microseconds(static_cast<int64_t>(world_.rng().Below(2000)));
    executor_.RunAfter(takes, [this] { Ask(); });
  }

  SimScheduler& world_;
  Executor& executor_;
  const std::shared_ptr<TrafficGate> gate_;
  const std::vector<Meter*> meters_;
  uint64_t bytes_ = 0;
  bool stopped_ = false;
};

class TrafficControlTest : public ::testing::Test {
 protected:
  static v1::Settings Limits(uint32_t server_mbps, uint32_t total_mbps) {
    v1::Settings settings;
    settings.set_repair_server_mbps(server_mbps);
    settings.set_repair_total_mbps(total_mbps);
    settings.set_rebalance_server_mbps(server_mbps);
    settings.set_rebalance_total_mbps(total_mbps);
    return settings;
  }
  void AddCopy(v1::TrafficClass traffic, uint32_t share_ppm, std::vector<Meter*> meters) {
    movers_.push_back(std::make_unique<Mover>(
        world_, *executor_, control_.GateForCopy(traffic, share_ppm), std::move(meters)));
  }

  SimScheduler world_{7};
  std::unique_ptr<Executor> executor_ = world_.MakeExecutor(absl::Milliseconds(1));
  TrafficControl control_{*executor_, world_};
  Meter all_{world_};
  std::vector<std::unique_ptr<Mover>> movers_;
};

TEST_F(TrafficControlTest, CopiesOfAClassTogetherKeepWithinTheServersLimitAndUseIt) {
  for (const uint32_t mbps : {20, 50, 200}) {
    control_.SetLimits(Limits(mbps, 0));
    while (movers_.size() < 6) {
      AddCopy(v1::TRAFFIC_CLASS_REBALANCE, 0, {&all_});
    }
    world_.RunFor(absl::Seconds(2));
    all_.Clear();
    world_.RunFor(absl::Seconds(20));
    EXPECT_LE(all_.WorstSecond(), mbps * kMegabyte * 105 / 100) << mbps;
    EXPECT_GE(all_.Sum(), mbps * kMegabyte * 20 * 95 / 100) << mbps;
  }
}

TEST_F(TrafficControlTest, ACopyKeepsWithinItsShareOfTheClusterLimit) {
  control_.SetLimits(Limits(0, 100));
  AddCopy(v1::TRAFFIC_CLASS_REPAIR, 300'000, {&all_});
  world_.RunFor(absl::Seconds(20));
  EXPECT_LE(all_.WorstSecond(), 30 * kMegabyte * 105 / 100);
  EXPECT_GE(all_.Sum(), 30 * kMegabyte * 20 * 95 / 100);
}

TEST_F(TrafficControlTest, NoShareNamedIsAllOfIt) {
  control_.SetLimits(Limits(0, 40));
  AddCopy(v1::TRAFFIC_CLASS_REPAIR, 0, {&all_});
  world_.RunFor(absl::Seconds(20));
  EXPECT_LE(all_.WorstSecond(), 40 * kMegabyte * 105 / 100);
  EXPECT_GE(all_.Sum(), 40 * kMegabyte * 20 * 95 / 100);
}

TEST_F(TrafficControlTest, BothLimitsHoldAtOnce) {
  // Shares of 30, 20 and 80 MB/s behind 100 MB/s: the first two are bound by their shares, and all
  // together by the server's limit.
  control_.SetLimits(Limits(100, 200));
  std::vector<Meter> own(3, Meter(world_));
  const std::vector<uint32_t> shares = {150'000, 100'000, 400'000};
  for (size_t i = 0; i < own.size(); ++i) {
    AddCopy(v1::TRAFFIC_CLASS_REBALANCE, shares[i], {&all_, &own[i]});
  }
  world_.RunFor(absl::Seconds(20));
  for (size_t i = 0; i < own.size(); ++i) {
    EXPECT_LE(own[i].WorstSecond(), uint64_t{200} * shares[i] * 105 / 100) << i;
  }
  EXPECT_LE(all_.WorstSecond(), 100 * kMegabyte * 105 / 100);
  EXPECT_GE(all_.Sum(), 100 * kMegabyte * 20 * 95 / 100);
}

TEST_F(TrafficControlTest, ClassesAndDirectionsAreLimitedEachByItself) {
  control_.SetLimits(Limits(20, 0));
  Meter repair(world_);
  Meter sent(world_);
  AddCopy(v1::TRAFFIC_CLASS_REBALANCE, 0, {&all_});
  AddCopy(v1::TRAFFIC_CLASS_REPAIR, 0, {&repair});
  movers_.push_back(std::make_unique<Mover>(world_, *executor_,
                                            control_.SendGate(v1::TRAFFIC_CLASS_REBALANCE),
                                            std::vector<Meter*>{&sent}));
  world_.RunFor(absl::Seconds(10));
  for (Meter* meter : {&all_, &repair, &sent}) {
    EXPECT_LE(meter->WorstSecond(), 20 * kMegabyte * 105 / 100);
    EXPECT_GE(meter->Sum(), 20 * kMegabyte * 10 * 95 / 100);
  }
}

TEST_F(TrafficControlTest, ChangesHoldAtOnceForWhatIsUnderWay) {
  control_.SetLimits(Limits(0, 0));
  for (int i = 0; i < 4; ++i) {
    AddCopy(v1::TRAFFIC_CLASS_REBALANCE, 250'000, {&all_});
  }
  // By the server's limit, by that of the cluster, and up and down.
  const std::vector<std::pair<uint32_t, uint32_t>> limits = {{40, 0},   {0, 80},  {200, 30},
                                                             {20, 400}, {100, 0}, {0, 20}};
  for (const auto& [server, total] : limits) {
    const uint64_t expected = kMegabyte * (server == 0  ? total
                                           : total == 0 ? server
                                                        : std::min(server, total));
    world_.RunFor(absl::Seconds(1));
    control_.SetLimits(Limits(server, total));
    all_.Clear();
    world_.RunFor(absl::Seconds(10));
    EXPECT_GE(all_.Sum(), expected * 10 * 95 / 100) << server << " " << total;
    EXPECT_LE(all_.Sum(), expected * 10 * 105 / 100) << server << " " << total;
  }
}

TEST_F(TrafficControlTest, LiftingALimitFreesWhoWaitsForDays) {
  control_.SetLimits(Limits(0, 1));
  AddCopy(v1::TRAFFIC_CLASS_REPAIR, 1, {&all_});  // a byte a second
  world_.RunFor(absl::Hours(1));
  const uint64_t before = all_.Sum();
  EXPECT_LE(before, 2 * kBlockBytes);
  control_.SetLimits(Limits(0, 0));
  world_.RunFor(absl::Milliseconds(100));
  EXPECT_GT(all_.Sum(), before);
}

TEST_F(TrafficControlTest, ClientsAreNeverLimited) {
  EXPECT_EQ(control_.SendGate(v1::TRAFFIC_CLASS_UNSPECIFIED), nullptr);
  EXPECT_EQ(control_.GateForCopy(v1::TRAFFIC_CLASS_UNSPECIFIED, 1), nullptr);
  EXPECT_NE(control_.SendGate(static_cast<v1::TrafficClass>(99)), nullptr) << "of a newer build";
}

TEST_F(TrafficControlTest, UntilSettingsAreKnownTheirDefaultsHold) {
  Meter repair(world_);
  AddCopy(v1::TRAFFIC_CLASS_REBALANCE, 0, {&all_});
  AddCopy(v1::TRAFFIC_CLASS_REPAIR, 0, {&repair});
  world_.RunFor(absl::Seconds(10));
  EXPECT_LE(all_.WorstSecond(), kRebalanceServerMbpsDefault * kMegabyte * 105 / 100);
  EXPECT_LE(repair.WorstSecond(), kRepairServerMbpsDefault * kMegabyte * 105 / 100);
  EXPECT_GE(repair.Sum(), kRepairServerMbpsDefault * kMegabyte * 10 * 95 / 100);
}

TEST_F(TrafficControlTest, WhoGivesUpIsNotCalledAndHoldsNobodyUp) {
  control_.SetLimits(Limits(20, 20));
  const auto first = control_.GateForCopy(v1::TRAFFIC_CLASS_REPAIR, 0);
  const auto second = control_.GateForCopy(v1::TRAFFIC_CLASS_REPAIR, 0);
  EXPECT_FALSE(first->Ask(MiB(20), [] { FAIL() << "granted at once"; }).has_value());
  int called = 0;
  const auto at_own = first->Ask(MiB(1), [&] { ++called; });
  const auto at_class = second->Ask(MiB(1), [&] { ++called; });
  ASSERT_TRUE(at_own.has_value() && at_class.has_value());
  first->Cancel(*at_own);
  second->Cancel(*at_class);
  second->Cancel(*at_class);
  bool third = false;
  ASSERT_TRUE(second->Ask(MiB(1), [&] { third = true; }).has_value());
  world_.RunFor(absl::Seconds(5));
  EXPECT_EQ(called, 0);
  EXPECT_TRUE(third);
}

// Clients whose reads take longer the more background work there is: `harm` for each 100 MB/s.
class BackOffTest : public TrafficControlTest {
 protected:
  void SetUp() override {
    control_.StartBackOff([] { return uint64_t{0}; });
  }
  void Serve(absl::Duration span, double harm, Meter& meter) {
    for (absl::Duration t = absl::ZeroDuration(); t < span; t += absl::Milliseconds(100)) {
      const uint64_t before = meter.Sum();
      world_.RunFor(absl::Milliseconds(100));
      const double rate = static_cast<double>(meter.Sum() - before) * 10;
      for (int i = 0; i < 30; ++i) {
        control_.OnServed(ForegroundMonitor::Kind::kRead,
                          absl::Milliseconds(10) * (1 + harm * rate / 100e6));
      }
    }
  }
};

TEST_F(BackOffTest, RebalancingYieldsToClientsAndComesBack) {
  control_.SetLimits(Limits(100, 0));
  Serve(absl::Seconds(10), 0, all_);
  AddCopy(v1::TRAFFIC_CLASS_REBALANCE, 0, {&all_});
  Serve(absl::Seconds(4), 0, all_);
  EXPECT_EQ(control_.foreground_factor(), 1.0);
  Serve(absl::Seconds(2), 10, all_);
  EXPECT_LE(control_.foreground_factor(), 0.5);
  Serve(absl::Seconds(10), 10, all_);
  all_.Clear();
  Serve(absl::Seconds(5), 10, all_);
  EXPECT_LE(all_.Sum(), 5 * 20 * kMegabyte);
  EXPECT_GE(all_.Sum(), 5 * 5 * kMegabyte) << "it never stops";
  Serve(absl::Seconds(15), 0, all_);
  EXPECT_EQ(control_.foreground_factor(), 1.0);
  all_.Clear();
  Serve(absl::Seconds(5), 0, all_);
  EXPECT_GE(all_.Sum(), 5 * 95 * kMegabyte);
}

TEST_F(BackOffTest, ATrickleIsNoBackgroundWork) {
  control_.SetLimits(Limits(3, 0));
  AddCopy(v1::TRAFFIC_CLASS_REBALANCE, 0, {&all_});
  Serve(absl::Seconds(5), 0, all_);
  EXPECT_EQ(control_.foreground_factor(), 1.0) << "what is normal can be learned beside it";
  Serve(absl::Seconds(5), 100, all_);
  EXPECT_EQ(control_.foreground_factor(), 1.0) << "the reason is another";
}

TEST_F(BackOffTest, YieldsEvenWhereNoLimitIsSet) {
  control_.SetLimits(Limits(0, 80));
  Serve(absl::Seconds(10), 0, all_);
  AddCopy(v1::TRAFFIC_CLASS_REBALANCE, 0, {&all_});
  Serve(absl::Seconds(4), 0, all_);
  Serve(absl::Seconds(10), 20, all_);
  all_.Clear();
  Serve(absl::Seconds(5), 20, all_);
  EXPECT_LE(all_.Sum(), 5 * 20 * kMegabyte);
}

TEST_F(BackOffTest, RepairYieldsButKeepsHalfOfItsLimit) {
  control_.SetLimits(Limits(100, 0));
  Serve(absl::Seconds(10), 0, all_);
  AddCopy(v1::TRAFFIC_CLASS_REPAIR, 0, {&all_});
  Serve(absl::Seconds(10), 10, all_);
  EXPECT_LT(control_.foreground_factor(), 0.5);
  all_.Clear();
  Serve(absl::Seconds(5), 10, all_);
  EXPECT_GE(all_.Sum(), 5 * 47 * kMegabyte);
  EXPECT_LE(all_.Sum(), 5 * 53 * kMegabyte);
  control_.SetLimits(Limits(0, 0));
  all_.Clear();
  world_.RunFor(absl::Seconds(1));
  EXPECT_GE(all_.Sum(), 200 * kMegabyte) << "no limit has no half";
}

TEST_F(BackOffTest, ANewLimitDoesNotUndoTheCut) {
  control_.SetLimits(Limits(100, 0));
  Serve(absl::Seconds(10), 0, all_);
  AddCopy(v1::TRAFFIC_CLASS_REBALANCE, 0, {&all_});
  Serve(absl::Seconds(8), 10, all_);
  const double factor = control_.foreground_factor();
  ASSERT_LE(factor, 0.3);
  control_.SetLimits(Limits(200, 0));
  all_.Clear();
  world_.RunFor(absl::Seconds(1));
  EXPECT_LE(all_.Sum(), 50 * kMegabyte);
}

}  // namespace
}  // namespace ballast::chunkserver
