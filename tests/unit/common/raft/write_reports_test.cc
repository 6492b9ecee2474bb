// SPDX-License-Identifier: Apache-2.0
#include "common/raft/write_reports.h"

#include "gtest/gtest.h"

namespace ballast {
namespace {

using Index = std::optional<uint64_t>;

TEST(WriteReportsTest, ReportsWhatIsDurableOnce) {
  WriteReports reports;
  reports.Restart(4);
  reports.Queue(1, 5, 6);
  reports.Queue(2, 7, 7);
  reports.Queue(2, 8, 9);
  EXPECT_EQ(reports.Done(1), Index(6));
  EXPECT_EQ(reports.Done(1), std::nullopt);
  EXPECT_EQ(reports.Done(2), Index(9));
  EXPECT_EQ(reports.reported(), 9u);
}

TEST(WriteReportsTest, ReportsSeveralWritesAsOne) {
  WriteReports reports;
  reports.Queue(1, 1, 3);
  reports.Queue(2, 4, 5);
  EXPECT_EQ(reports.Done(2), Index(5));
}

TEST(WriteReportsTest, EntriesOverwrittenDuringTheirWriteAreNotReported) {
  WriteReports reports;
  reports.Restart(4);
  reports.Queue(1, 5, 10);
  reports.Queue(2, 8, 8);  // another leader's entry takes the place of 8..10
  EXPECT_EQ(reports.Done(1), Index(7)) << "8 is not yet on disk";
  EXPECT_EQ(reports.Done(2), Index(8));
}

TEST(WriteReportsTest, AWriteThatIsOverwrittenWholeReportsNothing) {
  WriteReports reports;
  reports.Restart(4);
  reports.Queue(1, 5, 10);
  reports.Queue(2, 5, 5);
  EXPECT_EQ(reports.Done(1), std::nullopt);
  EXPECT_EQ(reports.Done(2), Index(5));
}

TEST(WriteReportsTest, WhatWasReportedAndIsOverwrittenIsReportedAgain) {
  WriteReports reports;
  reports.Restart(10);
  reports.Queue(1, 7, 8);
  EXPECT_EQ(reports.reported(), 6u);
  EXPECT_EQ(reports.Done(1), Index(8));
}

TEST(WriteReportsTest, NothingIsReportedDuringAnInstall) {
  WriteReports reports;
  reports.Restart(4);
  reports.Queue(1, 5, 6);
  reports.StartInstall();
  EXPECT_EQ(reports.Done(1), std::nullopt);
  EXPECT_EQ(reports.reported(), 0u);
  reports.Restart(20);
  reports.Queue(2, 21, 21);
  EXPECT_EQ(reports.Done(2), Index(21));
}

}  // namespace
}  // namespace ballast
