// SPDX-License-Identifier: Apache-2.0
#include "common/env/executor.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/barrier.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "common/env/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

using ::testing::ElementsAre;

// Waits until everything posted so far has run.
void Drain(Executor& executor) {
  absl::Notification done;
  executor.Post([&done] { done.Notify(); });
  done.WaitForNotification();
}

TEST(ThreadExecutorTest, RunsTasksInTheOrderOfPosting) {
  const auto executor = MakeThreadExecutor("test");
  std::vector<int> order;
  for (int i = 0; i < 1000; ++i) {
    executor->Post([&order, i] { order.push_back(i); });
  }
  Drain(*executor);
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(order[i], i);
  }
}

// Which system call the thread of this name waits in, with its arguments; "running" if it waits in
// none, nothing if the kernel does not tell.
std::vector<uint64_t> SystemCallOf(const std::string& thread_name) {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name == thread_name) {
      std::ifstream in(task.path() / "syscall");
      std::vector<uint64_t> words;
      for (std::string word; in >> word && word != "running";) {
        words.push_back(std::stoull(word, nullptr, 0));
      }
      return words;
    }
  }
  return {};
}

TEST(ThreadExecutorTest, TimersDoNotSleepByTheWallClock) {
  if (!std::ifstream("/proc/self/syscall").good()) {
    GTEST_SKIP() << "the kernel does not tell what a thread waits for";
  }
  const auto executor = MakeThreadExecutor("wall-clock");
  executor->RunAfter(absl::Minutes(10), [] {});
  // futex(address, operation, value, timeout): until it waits, and with a timeout.
  std::vector<uint64_t> call;
  while (call.size() < 5 || call[0] != SYS_futex || call[4] == 0) {
    std::this_thread::yield();
    call = SystemCallOf("wall-clock");
  }
  EXPECT_EQ(call[2] & FUTEX_CLOCK_REALTIME, 0u)
      << "a wall clock that is set back would hold the timer up";
}

TEST(ThreadExecutorTest, RunsOneTaskAtATimeWhoeverPosts) {
  const auto executor = MakeThreadExecutor("test");
  std::atomic<int> running{0};
  int sum = 0;  // unprotected on purpose
  std::vector<std::thread> posters;
  for (int t = 0; t < 4; ++t) {
    posters.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        executor->Post([&] {
          EXPECT_EQ(running.fetch_add(1), 0);
          ++sum;
          running.fetch_sub(1);
        });
      }
    });
  }
  for (std::thread& poster : posters) {
    poster.join();
  }
  Drain(*executor);
  EXPECT_EQ(sum, 8000);
}

TEST(ThreadExecutorTest, NeverRunsATaskInsidePostOrRunAfter) {
  absl::Notification done;
  bool inside = false;
  const auto executor = MakeThreadExecutor("test");
  executor->Post([&] {
    inside = true;
    executor->Post([&inside] { EXPECT_FALSE(inside); });
    executor->RunAfter(absl::ZeroDuration(), [&inside, &done] {
      EXPECT_FALSE(inside);
      done.Notify();
    });
    inside = false;
  });
  done.WaitForNotification();
}

TEST(ThreadExecutorTest, TimersRunInTheOrderOfTheirDueTimes) {
  const auto executor = MakeThreadExecutor("test");
  std::vector<int> order;
  absl::Notification done;
  executor->Post([&] {
    executor->RunAfter(absl::Milliseconds(30), [&] {
      order.push_back(3);
      done.Notify();
    });
    executor->RunAfter(absl::Milliseconds(10), [&] { order.push_back(2); });
    executor->RunAfter(-absl::Seconds(1), [&] { order.push_back(0); });
    executor->RunAfter(absl::ZeroDuration(), [&] { order.push_back(1); });
  });
  done.WaitForNotification();
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3));
}

TEST(ThreadExecutorTest, ATimerRunsNotBeforeItsDelay) {
  const auto executor = MakeThreadExecutor("test");
  absl::Notification done;
  const SteadyTime begin = RealClock().SteadyNow();
  SteadyTime end;
  executor->RunAfter(absl::Milliseconds(20), [&] {
    end = RealClock().SteadyNow();
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_GE(end - begin, absl::Milliseconds(20));
}

TEST(ThreadExecutorTest, AnEarlierTimerWakesTheSleepingThread) {
  const auto executor = MakeThreadExecutor("test");
  absl::Notification done;
  executor->RunAfter(absl::Hours(1), [] { FAIL(); });
  Drain(*executor);
  executor->RunAfter(absl::Milliseconds(1), [&done] { done.Notify(); });
  done.WaitForNotification();
}

TEST(ThreadExecutorTest, NeitherTimersNorTasksStarveTheOther) {
  std::atomic<bool> stop{false};
  std::function<void()> posts;
  std::function<void()> timers;
  absl::Notification timer_ran;
  const auto executor = MakeThreadExecutor("test");
  posts = [&] {
    if (!stop) {
      executor->Post([&] { posts(); });
    }
  };
  timers = [&] {
    if (!stop) {
      executor->RunAfter(absl::ZeroDuration(), [&] { timers(); });
    }
  };
  executor->Post([&] { posts(); });
  Drain(*executor);
  executor->RunAfter(absl::Milliseconds(1), [&timer_ran] { timer_ran.Notify(); });
  timer_ran.WaitForNotification();
  executor->Post([&] { timers(); });
  Drain(*executor);
  stop = true;
}

TEST(ThreadExecutorTest, ACancelledTimerNeverRunsAndIsDestroyed) {
  const auto executor = MakeThreadExecutor("test");
  auto token = std::make_shared<int>(0);
  const std::weak_ptr<int> alive = token;
  const auto id = executor->RunAfter(absl::Hours(1), [token = std::move(token)] { FAIL(); });
  executor->Cancel(id);
  EXPECT_TRUE(alive.expired());
  executor->Cancel(id);
  executor->Cancel(0);
  executor->Cancel(123456);
  Drain(*executor);
}

TEST(ThreadExecutorTest, ATimerThatIsDueButHasNotBegunCanBeCancelled) {
  const auto executor = MakeThreadExecutor("test");
  absl::Notification done;
  bool second_ran = false;
  executor->Post([&] {
    // All three are due in the same turn.
    auto second = std::make_shared<Executor::TimerId>(0);
    executor->RunAfter(absl::ZeroDuration(), [&, second] { executor->Cancel(*second); });
    *second = executor->RunAfter(absl::ZeroDuration(), [&] { second_ran = true; });
    executor->RunAfter(absl::ZeroDuration(), [&] { done.Notify(); });
  });
  done.WaitForNotification();
  EXPECT_FALSE(second_ran);
}

TEST(ThreadExecutorTest, CancellingAFinishedTimerTouchesNoOther) {
  const auto executor = MakeThreadExecutor("test");
  absl::Notification first;
  absl::Notification second;
  const auto id = executor->RunAfter(absl::ZeroDuration(), [&] { first.Notify(); });
  first.WaitForNotification();
  executor->Cancel(id);
  executor->RunAfter(absl::ZeroDuration(), [&] { second.Notify(); });
  executor->Cancel(id);
  second.WaitForNotification();
}

TEST(ThreadExecutorTest, DestructionWaitsForTheRunningTaskAndDropsTimers) {
  auto token = std::make_shared<int>(0);
  const std::weak_ptr<int> alive = token;
  auto executor = MakeThreadExecutor("test");
  executor->RunAfter(absl::Hours(1), [token = std::move(token)] { FAIL(); });
  absl::Notification started;
  absl::Notification release;
  std::atomic<bool> finished{false};
  executor->Post([&] {
    started.Notify();
    release.WaitForNotification();
    finished = true;
  });
  started.WaitForNotification();
  std::thread destroyer([&] {
    executor.reset();
    EXPECT_TRUE(finished);
  });
  release.Notify();
  destroyer.join();
  EXPECT_TRUE(alive.expired());
}

TEST(ThreadExecutorTest, TasksLeftBehindAreDestroyed) {
  const auto token = std::make_shared<int>(0);
  for (int round = 0; round < 20; ++round) {
    auto executor = MakeThreadExecutor("test");
    for (int i = 0; i < 100; ++i) {
      executor->Post([token] {});
    }
    executor.reset();
    EXPECT_EQ(token.use_count(), 1);
  }
}

TEST(ThreadPoolTest, RunsEverythingOnSeveralThreadsAtOnce) {
  // Each of the three waits for the other two: they can only end if all run at the same time.
  absl::Barrier all_started(3);
  absl::BlockingCounter all_done(3);
  ThreadPool pool("test", 3);
  for (int i = 0; i < 3; ++i) {
    pool.Post([&] {
      all_started.Block();
      all_done.DecrementCount();
    });
  }
  all_done.Wait();
}

TEST(ThreadPoolTest, RunsEveryTaskOnce) {
  std::atomic<int> ran{0};
  absl::BlockingCounter done(1000);
  ThreadPool pool("test", 4);
  for (int i = 0; i < 1000; ++i) {
    pool.Post([&] {
      ran.fetch_add(1);
      done.DecrementCount();
    });
  }
  done.Wait();
  EXPECT_EQ(ran, 1000);
}

TEST(ThreadPoolTest, DestructionWaitsForRunningTasksAndDestroysTheRest) {
  const auto token = std::make_shared<int>(0);
  std::atomic<int> running{0};
  {
    ThreadPool pool("test", 2);
    for (int i = 0; i < 200; ++i) {
      pool.Post([&running, token] {
        running.fetch_add(1);
        running.fetch_sub(1);
      });
    }
  }
  EXPECT_EQ(running, 0);
  EXPECT_EQ(token.use_count(), 1);
}

TEST(RealClockTest, SteadyTimeNeverGoesBackwards) {
  SteadyTime last = RealClock().SteadyNow();
  for (int i = 0; i < 1000; ++i) {
    const SteadyTime now = RealClock().SteadyNow();
    ASSERT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace ballast
