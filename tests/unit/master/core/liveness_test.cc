// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/liveness.h"

#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/rng.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOk;

SteadyTime At(double seconds) { return SteadyTime::FromOrigin(absl::Seconds(seconds)); }

constexpr ServerIndex kA(1);

// A machine with its ticks, driven through virtual time.
class World {
 public:
  explicit World(LivenessLimits limits = {}) : machine(limits, At(0)), limits_(limits) {
    machine.OnRegistered(kA, 1, At(0));
  }

  // Ticks run at every limits.tick() up to and including `to`.
  void RunTo(SteadyTime to) {
    while (next_tick_ <= to) {
      machine.Tick(next_tick_);
      for (const auto& t : machine.TakeTransitions()) {
        history.push_back(absl::StrCat(absl::FormatDuration(next_tick_.SinceOrigin()), " ",
                                       t.server.value(), " ", LivenessName(t.to)));
        if (t.to == LivenessState::kDead) {
          died_at = next_tick_;
        }
      }
      now_ = next_tick_;
      next_tick_ = next_tick_ + limits_.tick();
    }
    now_ = to;
  }
  // The process does not run for `pause`; the first thing it does then is to tick.
  void Pause(absl::Duration pause) { next_tick_ = now_ + pause; }

  absl::Status Beat(double seconds, uint64_t epoch = 1, uint64_t incarnation = 100,
                    uint64_t stream = 7, bool stopping = false, double age = 0) {
    RunTo(At(seconds));
    const Liveness::Beat beat{.sender = {epoch, incarnation},
                              .stream = stream,
                              .stopping = stopping,
                              .age = absl::Seconds(age)};
    const absl::Status status = machine.OnHeartbeat(kA, beat, At(seconds));
    (void)machine.TakeTransitions();
    return status;
  }
  LivenessState state() const { return machine.state(kA); }

  Liveness machine;
  std::vector<std::string> history;
  SteadyTime died_at;

 private:
  LivenessLimits limits_;
  SteadyTime now_ = At(0);
  SteadyTime next_tick_ = At(0.125);
};

// --- the table: one line an event, the state after it
// ---------------------------------------------

// "TIME beat [epoch N] [inc N] [age SECONDS] [stopping] | nobeat [inc N] | break | pause SECONDS |
// look => state or REASON"
void Play(const std::string& script) {
  World world;
  for (absl::string_view line : absl::StrSplit(script, '\n', absl::SkipWhitespace())) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    ASSERT_GE(words.size(), 4u) << line;
    double time = 0;
    ASSERT_TRUE(absl::SimpleAtod(words[0], &time)) << line;
    uint64_t epoch = 1, incarnation = 100;
    bool stopping = false;
    double age = 0;
    for (size_t i = 2; i + 1 < words.size(); ++i) {
      if (words[i] == "epoch") {
        ASSERT_TRUE(absl::SimpleAtoi(words[i + 1], &epoch));
      }
      if (words[i] == "inc") {
        ASSERT_TRUE(absl::SimpleAtoi(words[i + 1], &incarnation));
      }
      if (words[i] == "age") {
        ASSERT_TRUE(absl::SimpleAtod(words[i + 1], &age));
      }
      stopping |= words[i] == "stopping";
    }
    std::string result;
    if (words[1] == "beat") {
      const absl::Status status = world.Beat(time, epoch, incarnation, incarnation, stopping, age);
      result = status.ok() ? std::string(LivenessName(world.state()))
                           : std::string(ReasonName(ReasonOf(status)));
    } else if (words[1] == "nobeat") {
      world.RunTo(At(time));
      const absl::Status status = world.machine.OnNoBeat(kA, {epoch, incarnation}, incarnation);
      result = status.ok() ? std::string(LivenessName(world.state()))
                           : std::string(ReasonName(ReasonOf(status)));
    } else if (words[1] == "break") {
      world.RunTo(At(time));
      world.machine.OnStreamBroken(kA, incarnation, At(time));
      result = std::string(LivenessName(world.state()));
    } else if (words[1] == "pause") {
      world.RunTo(At(time));
      double seconds = 0;
      ASSERT_TRUE(absl::SimpleAtod(words[2], &seconds));
      world.Pause(absl::Seconds(seconds));
      world.RunTo(At(time + seconds));
      result = std::string(LivenessName(world.state()));
    } else {
      ASSERT_EQ(words[1], "look") << line;
      world.RunTo(At(time));
      result = std::string(LivenessName(world.state()));
    }
    EXPECT_EQ(result, words.back()) << line;
  }
}

TEST(LivenessTest, UnknownUntilTheFirstHeartbeatAndDeadAfterAFullWindow) {
  Play(R"(0     look => unknown
          14.9  look => unknown
          15.3  look => dead
          20    beat => alive)");
}

TEST(LivenessTest, LateHeartbeatIsSuspicionThreeMissedAreDeath) {
  Play(R"(1     beat => alive
          6     beat => alive
          13.4  look => alive
          13.6  look => suspect
          20.9  look => suspect
          21.3  look => dead
          22    beat => alive)");
}

TEST(LivenessTest, ABrokenStreamIsSuspicionOnly) {
  Play(R"(1     beat  => alive
          2     break => suspect
          3     beat  => alive
          3     break => suspect
          17.9  look  => suspect
          18.3  look  => dead)");
}

TEST(LivenessTest, ACleanStopIsSuspectAtOnce) {
  Play(R"(1  beat => alive
          2  beat stopping => suspect
          2  break => suspect
          3  beat epoch 2 inc 200 => alive)");
}

TEST(LivenessTest, TheBreakOfAnOldStreamChangesNothing) {
  Play(R"(1  beat inc 100 => alive
          2  break inc 100 => suspect
          3  beat epoch 2 inc 200 => alive
          4  break inc 100 => alive)");
}

TEST(LivenessTest, ACopiedFolderIsRefusedWhileTheFirstHolderIsNotDead) {
  Play(R"(1   beat inc 100 => alive
          2   beat inc 200 => DUPLICATE_SERVER
          3   break inc 100 => suspect
          4   beat inc 200 => DUPLICATE_SERVER
          17  beat inc 200 => alive
          18  beat inc 100 => DUPLICATE_SERVER)");
}

TEST(LivenessTest, ARestartWaitsUntilTheFirstIsSilent) {
  // Killed at 1.5, restarted at 2, but the break of its stream never arrives.
  Play(R"(1    beat epoch 3 inc 100 => alive
          2    beat epoch 4 inc 200 => NOT_READY
          8    beat epoch 4 inc 200 => NOT_READY
          8.6  beat epoch 4 inc 200 => alive
          9    beat epoch 3 inc 100 => STALE_BOOT)");
}

TEST(LivenessTest, ARestartMayOvertakeTheEndOfItsFormersReports) {
  Play(R"(1    beat epoch 3 inc 100 => alive
          2    beat epoch 4 inc 200 => NOT_READY
          2.1  beat epoch 3 inc 100 => alive
          2.2  break inc 100 => suspect
          2.5  beat epoch 4 inc 200 => alive)");
}

TEST(LivenessTest, ACopyWithAHigherEpochIsRefusedOnceBothAreSeenToLive) {
  Play(R"(1    beat epoch 3 inc 100 => alive
          2    beat epoch 4 inc 200 => NOT_READY
          6    beat epoch 3 inc 100 => alive
          6.5  beat epoch 4 inc 200 => NOT_READY
          11   beat epoch 3 inc 100 => alive
          11.5 beat epoch 4 inc 200 => DUPLICATE_SERVER
          12   beat epoch 5 inc 300 => NOT_READY)");
}

TEST(LivenessTest, AnEpochBelowTheRegisteredOneIsStaleAtFirstContact) {
  World world;
  world.machine.OnRegistered(kA, 5, At(0));
  EXPECT_THAT(world.Beat(1, 4), HasReason(v1::REASON_STALE_BOOT));
  EXPECT_THAT(world.Beat(1, 5), IsOk());
  // A copy that registers a higher epoch does not push out the holder.
  world.machine.OnRegistered(kA, 6, At(2));
  EXPECT_THAT(world.Beat(3, 5), IsOk());
}

TEST(LivenessTest, ARefusalDoesNotCountAsAHeartbeat) {
  Play(R"(1    beat inc 100 => alive
          9    beat inc 200 => DUPLICATE_SERVER
          15.9 beat inc 200 => DUPLICATE_SERVER
          16.3 look => dead)");
}

TEST(LivenessTest, TheMastersOwnPauseIsNotSilence) {
  // Stopped for a minute: nobody dies, everybody gets a full window from then on.
  Play(R"(1     beat => alive
          2     pause 60 => alive
          76.9  look => suspect
          77.4  look => dead)");
}

TEST(LivenessTest, ShortPausesDoNotCountEither) {
  // Ten stops of 2 s each are 20 s in which nothing was observed.
  World world;
  ASSERT_OK(world.Beat(1));
  for (int i = 0; i < 10; ++i) {
    world.RunTo(At(2 + 2.5 * i));
    world.Pause(absl::Seconds(2));
  }
  world.RunTo(At(27));
  EXPECT_NE(world.state(), LivenessState::kDead);
  world.RunTo(At(60));
  EXPECT_EQ(world.state(), LivenessState::kDead);
}

TEST(LivenessTest, ANewLeaderGivesEveryoneAFullWindow) {
  Liveness machine(LivenessLimits{}, At(1000));
  machine.OnRegistered(kA, 1, At(1000));
  for (double t = 1000.125; t <= 1014.9; t += 0.125) {
    machine.Tick(At(t));
    ASSERT_EQ(machine.state(kA), LivenessState::kUnknown) << t;
  }
}

TEST(LivenessTest, AServerThatIsNotRegisteredDoesNotCount) {
  Liveness machine(LivenessLimits{}, At(0));
  EXPECT_EQ(machine.state(ServerIndex(9)), LivenessState::kDead);
  machine.OnRegistered(ServerIndex(9), 1, At(0));
  EXPECT_EQ(machine.state(ServerIndex(9)), LivenessState::kUnknown);
  machine.OnRemoved(ServerIndex(9));
  EXPECT_EQ(machine.state(ServerIndex(9)), LivenessState::kDead);
}

TEST(LivenessTest, DeathComesWithinTwoTicksAfterTheWindowAndNeverEarlier) {
  const uint64_t seed = 20240611;
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  Rng rng(seed);
  for (int trial = 0; trial < 1000; ++trial) {
    World world;
    double t = 0.01 + rng.Fraction();
    const int beats = 1 + static_cast<int>(rng.Below(6));
    for (int i = 0; i < beats; ++i) {
      ASSERT_OK(world.Beat(t));
      if (i + 1 < beats) t += rng.Fraction() * 14.5;
    }
    world.RunTo(At(t + 16));
    ASSERT_EQ(world.state(), LivenessState::kDead);
    const absl::Duration after = world.died_at - At(t);
    ASSERT_GE(after, absl::Seconds(15)) << "trial " << trial;
    ASSERT_LE(after, absl::Seconds(15.26)) << "trial " << trial;
  }
}

// A heartbeat that arrived within the window but waits behind a stall of the master saves its
// server, wherever the stall falls.
TEST(LivenessTest, AHeartbeatStuckBehindAStallIsNotMissed) {
  for (double stall = 0.1; stall < 20; stall += 0.35) {
    for (double start = 13; start < 16; start += 0.05) {
      World world;
      ASSERT_OK(world.Beat(1));
      world.RunTo(At(start));
      if (world.state() == LivenessState::kDead) continue;  // was silent for 15 s before the stall
      // It arrives during the stall, and is handled after the tick that ends it.
      world.Pause(absl::Seconds(stall));
      world.RunTo(At(start + stall));
      ASSERT_NE(world.state(), LivenessState::kDead) << "stall " << stall << " from " << start;
      ASSERT_OK(world.Beat(start + stall));
    }
  }
}

TEST(LivenessTest, ShorterIntervalsScaleEverything) {
  LivenessLimits limits;
  limits.interval = absl::Seconds(1);
  Liveness machine(limits, At(0));
  machine.OnRegistered(kA, 1, At(0));
  ASSERT_OK(machine.OnHeartbeat(kA, {.sender = {1, 1}, .stream = 1}, At(0.01)));
  double died = 0;
  for (double t = 0.025; t < 4 && died == 0; t += 0.025) {
    machine.Tick(At(t));
    if (machine.state(kA) == LivenessState::kDead) died = t;
  }
  EXPECT_GE(died, 3.01);
  EXPECT_LE(died, 3.07);
}

TEST(LivenessTest, AShorterIntervalGivesEveryoneAFullWindow) {
  LivenessLimits limits;
  limits.interval = absl::Seconds(60);
  Liveness machine(limits, At(0));
  machine.OnRegistered(kA, 1, At(0));
  ASSERT_OK(machine.OnHeartbeat(kA, {.sender = {1, 1}, .stream = 1}, At(0)));
  for (double t = 0.5; t <= 50; t += 0.5) machine.Tick(At(t));
  machine.SetLimits(LivenessLimits{});
  double died = 0;
  for (double t = 50.125; t < 80 && died == 0; t += 0.125) {
    machine.Tick(At(t));
    if (machine.state(kA) == LivenessState::kDead) died = t;
  }
  EXPECT_GE(died, 65) << "it may not have heard of the new interval yet";
  EXPECT_LE(died, 65.5);
}

// --- heartbeats that somebody relays
// -------------------------------------------------------------------------

TEST(LivenessTest, ARelayedHeartbeatCountsFromWhenItWasSpoken) {
  // Spoken at 7: late 7.5 s after that, dead 15 s after that.
  Play(R"(1     beat => alive
          10    beat age 3 => alive
          14.4  look => alive
          14.6  look => suspect
          21.9  look => suspect
          22.3  look => dead)");
}

TEST(LivenessTest, AnOlderHeartbeatThanTheLatestChangesNothing) {
  Play(R"(1     beat => alive
          10    beat => alive
          12    beat age 2.5 => alive
          12.5  beat stopping age 2.6 => alive
          17.4  look => alive
          17.6  look => suspect
          18    beat age 8.5 => suspect
          24.9  look => suspect
          25.3  look => dead
          26    beat age 16.5 => dead)");
}

TEST(LivenessTest, AHeartbeatYoungerThanTheWindowRevivesTheDead) {
  Play(R"(1     beat => alive
          16.3  look => dead
          20    beat age 15 => dead
          20    beat age 14.9 => suspect
          20.3  look => dead
          21    beat age 7.4 => alive
          21.3  look => suspect
          28.5  look => suspect
          28.9  look => dead)");
}

TEST(LivenessTest, AnOldHeartbeatShortensNoWindowThatWasGranted) {
  // First contact, a minute old: the new leader's window stands. So does the one after a pause.
  Play(R"(1     beat age 60 => alive
          14.9  look => suspect
          15.3  look => dead
          16    beat => alive
          17    pause 60 => alive
          77.2  beat age 61 => alive
          91.9  look => suspect
          92.4  look => dead)");
}

TEST(LivenessTest, AMessageWithoutABeatNeedsTheHolderAndKeepsNobodyAlive) {
  Play(R"(0.5   nobeat inc 100 => NOT_HOLDER
          1     beat inc 100 => alive
          2     nobeat inc 100 => alive
          2     nobeat inc 200 => NOT_HOLDER
          2     nobeat epoch 2 inc 100 => NOT_HOLDER
          8.4   nobeat inc 100 => alive
          8.6   nobeat inc 100 => suspect
          15.9  nobeat inc 100 => suspect
          16.3  nobeat inc 100 => dead
          17    beat epoch 2 inc 200 => alive
          18    nobeat inc 100 => NOT_HOLDER)");
}

TEST(LivenessTest, SinceHeartbeatAndCountTellWhatWasSaid) {
  World world;
  ASSERT_OK(world.Beat(10, 1, 100, 0, false, 4));
  EXPECT_EQ(world.machine.SinceHeartbeat(kA, At(10)), absl::Seconds(4));
  ASSERT_OK(world.Beat(11, 1, 100, 0, false, 6));  // spoken at 5, before the latest
  EXPECT_EQ(world.machine.SinceHeartbeat(kA, At(11)), absl::Seconds(5));
  EXPECT_EQ(world.machine.heartbeat_count(kA), 2u);
  ASSERT_OK(world.machine.OnHeartbeat(kA, {.sender = {1, 100}, .tells_chunks = false}, At(12)));
  ASSERT_OK(world.machine.OnNoBeat(kA, {1, 100}, 0));
  EXPECT_EQ(world.machine.heartbeat_count(kA), 2u);
}

TEST(LivenessTest, SinceHeartbeatIsRealTime) {
  World world;
  EXPECT_EQ(world.machine.SinceHeartbeat(kA, At(1)), std::nullopt);
  ASSERT_OK(world.Beat(1));
  world.Pause(absl::Seconds(30));
  EXPECT_EQ(world.machine.SinceHeartbeat(kA, At(31)), absl::Seconds(30));
}

}  // namespace
}  // namespace ballast::master
