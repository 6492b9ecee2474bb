// SPDX-License-Identifier: Apache-2.0
#include "common/base/check.h"

#include "absl/status/status.h"
#include "common/types/ids.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

struct Unprintable {
  int v = 0;
  bool operator==(const Unprintable& other) const { return v == other.v; }
};

TEST(CheckTest, PassesSilentlyAndEvaluatesOperandsOnce) {
  int calls = 0;
  const auto next = [&calls] { return ++calls; };
  CHECK(next() == 1);
  CHECK_EQ(next(), 2);
  CHECK_LT(next(), 4) << "never evaluated " << next();
  CHECK_OK(absl::OkStatus());
  EXPECT_EQ(calls, 3);
}

TEST(CheckTest, IsOneStatementInAnIf) {
  bool reached = false;
  if (reached)
    CHECK(false);
  else
    reached = true;
  if (!reached)
    CHECK_EQ(1, 2);
  else
    reached = false;
  EXPECT_FALSE(reached);
}

TEST(CheckDeathTest, SaysWhereWhatAndWhy) {
  EXPECT_DEATH(CHECK(1 > 2) << "with context " << 7,
               "check_test.cc:[0-9]+: CHECK failed: 1 > 2.*with context 7");
}

TEST(CheckDeathTest, PrintsBothOperands) {
  const int applied = 7;
  const int committed = 5;
  EXPECT_DEATH(CHECK_LE(applied, committed) << " group 3",
               "CHECK failed: applied <= committed \\(7 vs. 5\\) group 3");
  EXPECT_DEATH(CHECK_EQ(ShardId(3), ShardId(4)), "\\(3 vs. 4\\)");
  EXPECT_DEATH(CHECK_NE(1, 1), "1 != 1");
  EXPECT_DEATH(CHECK_GT(1, 1), "1 > 1");
  EXPECT_DEATH(CHECK_GE(0, 1), "0 >= 1");
  EXPECT_DEATH(CHECK_LT(1, 1), "1 < 1");
}

TEST(CheckDeathTest, AcceptsOperandsWithoutAPrintedForm) {
  EXPECT_DEATH(CHECK_EQ(Unprintable{1}, Unprintable{2}), "value without a printed form");
}

TEST(CheckDeathTest, PrintsTheStatus) {
  EXPECT_DEATH(CHECK_OK(absl::NotFoundError("no such chunk")), "NOT_FOUND: no such chunk");
}

}  // namespace
}  // namespace ballast
