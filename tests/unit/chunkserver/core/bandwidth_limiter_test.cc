// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/bandwidth_limiter.h"

#include <algorithm>
#include <vector>

#include "common/base/rng.h"
#include "common/types/limits.h"
#include "gtest/gtest.h"

namespace ballast::chunkserver {
namespace {

SteadyTime At(absl::Duration since) { return SteadyTime::FromOrigin(since); }

struct Grant {
  absl::Duration at;
  uint64_t bytes;
};

// The most that any window of one second holds; such a window begins at a grant.
uint64_t WorstWindow(const std::vector<Grant>& grants) {
  uint64_t worst = 0;
  uint64_t inside = 0;
  size_t first = 0;
  for (const Grant& grant : grants) {
    inside += grant.bytes;
    while (grants[first].at <= grant.at - absl::Seconds(1)) {
      inside -= grants[first++].bytes;
    }
    worst = std::max(worst, inside);
  }
  return worst;
}

uint64_t Sum(const std::vector<Grant>& grants) {
  uint64_t sum = 0;
  for (const Grant& grant : grants) {
    sum += grant.bytes;
  }
  return sum;
}

// Some who ask again as soon as they are granted, and are each served late by up to `lateness`.
class Crowd {
 public:
  Crowd(BandwidthLimiter& limiter, uint64_t piece_bytes, size_t askers)
      : limiter_(limiter), piece_(piece_bytes) {
    for (size_t i = 0; i < askers; ++i) {
      limiter_.Ask(piece_);
    }
  }
  void Run(Rng& rng, absl::Duration span, absl::Duration lateness) {
    const absl::Duration end = now_ + span;
    while (true) {
      const absl::Duration due = limiter_.NextDue()->SinceOrigin();
      const absl::Duration late = lateness * (static_cast<double>(rng.Below(1000)) / 1000);
      const absl::Duration next = std::max(due, now_) + late;
      if (next > end) {
        now_ = end;
        return;
      }
      now_ = next;
      for (const BandwidthLimiter::Ticket ticket : limiter_.Release(At(now_))) {
        EXPECT_GT(ticket, last_) << "in the order of asking";
        last_ = ticket;
        grants.push_back(Grant{.at = now_, .bytes = piece_});
        limiter_.Ask(piece_);
      }
    }
  }
  absl::Duration now() const { return now_; }

  std::vector<Grant> grants;

 private:
  BandwidthLimiter& limiter_;
  const uint64_t piece_;
  absl::Duration now_ = absl::Seconds(1000);
  BandwidthLimiter::Ticket last_ = 0;
};

TEST(BandwidthLimiterTest, NoSecondHoldsMoreThanFivePercentAboveTheRate) {
  for (const uint64_t rate : {20'000'000, 33'333'333, 100'000'000, 1'000'000'000}) {
    for (const size_t askers : {size_t{1}, size_t{8}}) {
      for (const bool own_piece : {false, true}) {
        Rng rng(rate + askers);
        BandwidthLimiter limiter(rate);
        Crowd crowd(limiter, own_piece ? limiter.PieceBytes() : KiB(512), askers);
        crowd.Run(rng, absl::Seconds(10), absl::Milliseconds(30));
        EXPECT_LE(WorstWindow(crowd.grants), rate + rate / 20)
            << rate << " " << askers << " " << own_piece;
      }
    }
  }
}

TEST(BandwidthLimiterTest, TheRateIsReachedAlthoughTimersAreLate) {
  for (const uint64_t rate : {1'000'000, 20'000'000, 500'000'000}) {
    Rng rng(rate);
    BandwidthLimiter limiter(rate);
    Crowd crowd(limiter, limiter.PieceBytes(), 2);
    crowd.Run(rng, absl::Seconds(20), absl::Milliseconds(2));
    EXPECT_GE(Sum(crowd.grants), rate * 20 * 98 / 100) << rate;
  }
}

TEST(BandwidthLimiterTest, IdleTimeIsNotSavedUp) {
  const uint64_t rate = 20'000'000;
  BandwidthLimiter limiter(rate);
  Rng rng(1);
  Crowd crowd(limiter, limiter.PieceBytes(), 1);
  crowd.Run(rng, absl::Seconds(2), absl::ZeroDuration());
  crowd.Run(rng, absl::Seconds(100), absl::Seconds(7));  // asks rarely
  crowd.Run(rng, absl::Seconds(2), absl::ZeroDuration());
  EXPECT_LE(WorstWindow(crowd.grants), rate + rate / 20);
}

TEST(BandwidthLimiterTest, ANewRateHoldsFromTheNextSecondOn) {
  Rng rng(3);
  const uint64_t fast = 200'000'000;
  const uint64_t slow = 20'000'000;
  BandwidthLimiter limiter(fast);
  Crowd crowd(limiter, KiB(512), 4);
  for (const uint64_t rate : {slow, fast, slow, fast, slow}) {
    limiter.SetRate(At(crowd.now()), rate);
    crowd.grants.clear();
    crowd.Run(rng, absl::Seconds(5), absl::Milliseconds(1));
    EXPECT_LE(WorstWindow(crowd.grants), rate + rate / 20);
    EXPECT_GE(Sum(crowd.grants), rate * 5 * 95 / 100);
  }
}

TEST(BandwidthLimiterTest, WithoutALimitAllIsGrantedAtOnce) {
  BandwidthLimiter limiter(0);
  EXPECT_EQ(limiter.PieceBytes(), KiB(512));
  for (int i = 0; i < 100; ++i) {
    limiter.Ask(KiB(512));
  }
  EXPECT_LE(*limiter.NextDue(), At(absl::ZeroDuration()));
  EXPECT_EQ(limiter.Release(At(absl::Seconds(1))).size(), 100u);
  EXPECT_FALSE(limiter.NextDue().has_value());
}

TEST(BandwidthLimiterTest, LiftingTheLimitFreesThoseWhoWait) {
  BandwidthLimiter limiter(1);
  limiter.Ask(KiB(64));
  limiter.Ask(KiB(64));
  EXPECT_EQ(limiter.Release(At(absl::Seconds(1))).size(), 1u);
  EXPECT_GT(*limiter.NextDue(), At(absl::Hours(1)));
  limiter.SetRate(At(absl::Seconds(2)), 0);
  EXPECT_LE(*limiter.NextDue(), At(absl::Seconds(2)));
  EXPECT_EQ(limiter.Release(At(absl::Seconds(2))).size(), 1u);
  // And a limit where there was none: nothing of before counts.
  limiter.SetRate(At(absl::Seconds(3)), 20'000'000);
  limiter.Ask(KiB(64));
  EXPECT_EQ(limiter.Release(At(absl::Seconds(3))).size(), 1u);
}

TEST(BandwidthLimiterTest, WhoLeavesTheQueueHoldsNobodyUp) {
  BandwidthLimiter limiter(20'000'000);
  const auto first = limiter.Ask(KiB(512));
  const auto second = limiter.Ask(KiB(512));
  const auto third = limiter.Ask(KiB(512));
  limiter.Cancel(first);
  limiter.Cancel(first);
  EXPECT_EQ(limiter.Release(At(absl::Seconds(9))), std::vector<uint64_t>{second});
  limiter.Cancel(second);
  const SteadyTime due = *limiter.NextDue();
  EXPECT_TRUE(limiter.Release(due - absl::Microseconds(1)).empty());
  EXPECT_EQ(limiter.Release(due), std::vector<uint64_t>{third});
}

TEST(BandwidthLimiterTest, PiecesAreSmallAgainstTheRate) {
  for (uint64_t rate = 1; rate < 1'000'000'000'000; rate = rate * 3 + 1) {
    const uint64_t piece = BandwidthLimiter(rate).PieceBytes();
    EXPECT_EQ(piece % kBlockBytes, 0u);
    EXPECT_GE(piece, kBlockBytes);
    EXPECT_LE(piece, KiB(512));
    if (piece > kBlockBytes) {
      EXPECT_LE(piece * 40, rate);
    }
  }
}

}  // namespace
}  // namespace ballast::chunkserver
