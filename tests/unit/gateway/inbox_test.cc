// SPDX-License-Identifier: Apache-2.0
#include "gateway/inbox.h"

#include <string>
#include <thread>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

SteadyTime At(int ms) { return SteadyTime::FromOrigin(absl::Milliseconds(ms)); }

InboxItem Heartbeat(const std::string& server) {
  HeartbeatRequest request;
  request.heartbeat.server = server;
  InboxItem item;
  item.message.request = request;
  item.bytes = 10;
  return item;
}

InboxItem Other(const std::string& type, size_t bytes = 10) {
  InboxItem item;
  item.message.type = type;
  item.message.request = ServerStatusRequest();
  item.bytes = bytes;
  return item;
}

TEST(InboxTest, GivesInOrderAndEndsWhenClosed) {
  Inbox inbox;
  inbox.Put(Other("a"));
  inbox.Put(Other("b"));
  inbox.Close();
  EXPECT_EQ(inbox.Take()->message.type, "a");
  EXPECT_TRUE(inbox.HasWaiting());
  inbox.Done();
  EXPECT_EQ(inbox.Take()->message.type, "b");
  EXPECT_FALSE(inbox.HasWaiting());
  EXPECT_FALSE(inbox.IsIdle());
  inbox.Done();
  EXPECT_TRUE(inbox.IsIdle());
  EXPECT_FALSE(inbox.Take().has_value());
}

TEST(InboxTest, CountsTheMessageAtWork) {
  Inbox inbox({.bytes_max = 100, .count_max = 2});
  EXPECT_TRUE(inbox.WaitForRoom(1000, absl::ZeroDuration()));  // alone, anything fits
  inbox.Put(Other("a", 60));
  EXPECT_TRUE(inbox.WaitForRoom(40, absl::ZeroDuration()));
  EXPECT_FALSE(inbox.WaitForRoom(41, absl::ZeroDuration()));
  inbox.Put(Other("b", 1));
  EXPECT_FALSE(inbox.WaitForRoom(0, absl::ZeroDuration()));  // count
  inbox.Take();
  EXPECT_FALSE(inbox.WaitForRoom(40, absl::ZeroDuration()));
  inbox.Done();
  EXPECT_TRUE(inbox.WaitForRoom(40, absl::ZeroDuration()));
}

TEST(InboxTest, ASlowMessageMakesWaitingHeartbeatsKnownOnce) {
  Inbox inbox({.slow_after = absl::Milliseconds(500)});
  inbox.Put(Other("rebalance_execute"));
  inbox.Put(Heartbeat("cs1"));
  EXPECT_THAT(inbox.TakeOverdue(At(10000)), IsEmpty());  // nothing is at work
  inbox.Take();
  inbox.Begin(At(10000));
  inbox.Put(Other("server_status"));
  inbox.Put(Heartbeat("cs2"));
  EXPECT_THAT(inbox.TakeOverdue(At(10499)), IsEmpty());
  EXPECT_THAT(inbox.TakeOverdue(At(10500)), ElementsAre("cs1", "cs2"));
  EXPECT_THAT(inbox.TakeOverdue(At(10501)), IsEmpty());
  // One that is read while it goes on is made known then.
  inbox.Put(Heartbeat("cs1"));
  EXPECT_THAT(inbox.TakeOverdue(At(12000)), ElementsAre("cs1"));
}

TEST(InboxTest, QuickMessagesMakeNothingKnown) {
  Inbox inbox({.slow_after = absl::Milliseconds(500)});
  inbox.Put(Other("a"));
  inbox.Put(Other("b"));
  inbox.Put(Heartbeat("cs1"));
  inbox.Take();
  inbox.Begin(At(0));
  EXPECT_THAT(inbox.TakeOverdue(At(400)), IsEmpty());
  inbox.Done();
  EXPECT_THAT(inbox.TakeOverdue(At(1000)), IsEmpty());
  inbox.Take();
  inbox.Begin(At(1000));
  EXPECT_THAT(inbox.TakeOverdue(At(1499)), IsEmpty());
  // What was made known stays so when its turn comes nearer; what was not is not forgotten.
  EXPECT_THAT(inbox.TakeOverdue(At(1500)), ElementsAre("cs1"));
  inbox.Put(Heartbeat("cs2"));
  inbox.Done();
  inbox.Take();
  inbox.Begin(At(2000));
  EXPECT_THAT(inbox.TakeOverdue(At(2600)), ElementsAre("cs2"));
}

TEST(InboxTest, StoppedItDropsWhatWaits) {
  Inbox inbox({.bytes_max = 10});
  inbox.Put(Other("a"));
  inbox.Take();
  inbox.Put(Other("b"));
  inbox.Stop();
  EXPECT_TRUE(inbox.WaitForRoom(1000, absl::InfiniteDuration()));
  inbox.Put(Other("c"));
  inbox.Done();
  EXPECT_FALSE(inbox.Take().has_value());
  EXPECT_TRUE(inbox.IsIdle());
}

TEST(InboxTest, WakesWhoeverWaits) {
  Inbox inbox({.bytes_max = 10});
  std::thread worker([&] {
    while (inbox.Take().has_value()) {
      inbox.Done();
    }
  });
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(inbox.WaitForRoom(10, absl::InfiniteDuration()));
    inbox.Put(Other("a"));
  }
  inbox.Close();
  worker.join();
  EXPECT_TRUE(inbox.IsIdle());
}

}  // namespace
}  // namespace ballast::gateway
