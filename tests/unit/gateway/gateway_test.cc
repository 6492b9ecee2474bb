// SPDX-License-Identifier: Apache-2.0
// The front with its threads and pipes.
#include "gateway/gateway.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/gateway/conversation.h"

namespace ballast::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Moves end when they are told to.
class SlowBackend : public FakeBackend {
 public:
  absl::Notification begun;
  absl::Notification go_on;
  absl::Notification touched;
  std::function<void()> on_touch = [] {};

  void Touch(const std::string& server) override {
    FakeBackend::Touch(server);
    on_touch();
    if (!touched.HasBeenNotified()) {
      touched.Notify();
    }
  }

 protected:
  void OnMove() override {
    begun.Notify();
    go_on.WaitForNotification();
  }
};

// The gateway on two pipes; the test is at their other ends.
class GatewayTest : public ::testing::Test {
 protected:
  GatewayTest() {
    SetLogLevel(LogLevel::kError);
    ::signal(SIGPIPE, SIG_IGN);
    CHECK_EQ(::pipe2(input_, O_CLOEXEC), 0);
    CHECK_EQ(::pipe2(output_, O_CLOEXEC), 0);
  }
  ~GatewayTest() override {
    for (const int fd : {input_[0], input_[1], output_[0], output_[1]}) {
      if (fd >= 0) {
        ::close(fd);
      }
    }
  }

  void Start(BackendStarter::Factory factory) {
    gateway_ = std::thread([this, make = std::move(factory)] {
      GatewayOptions options;
      options.input_fd = input_[0];
      options.output_fd = output_[1];
      options.inbox = limits_;
      {
        BackendStarter backend(make);
        exit_code_ = RunGateway(options, backend, RealClock(), stop_);
      }
      ::close(std::exchange(output_[1], -1));
    });
  }
  void Start(std::unique_ptr<FakeBackend> backend) {
    auto shared = std::make_shared<std::unique_ptr<FakeBackend>>(std::move(backend));
    Start([shared]() -> absl::StatusOr<std::unique_ptr<ClusterBackend>> {
      return std::unique_ptr<ClusterBackend>(std::move(*shared));
    });
  }

  void Send(absl::string_view text) {
    while (!text.empty()) {
      const ssize_t wrote = ::write(input_[1], text.data(), text.size());
      CHECK(wrote > 0);
      text.remove_prefix(static_cast<size_t>(wrote));
    }
  }
  void EndInput() { ::close(std::exchange(input_[1], -1)); }

  // The next line of output; empty at its end.
  std::string Receive() {
    for (;;) {
      const size_t newline = received_.find('\n');
      if (newline != std::string::npos) {
        const std::string line = received_.substr(0, newline);
        received_.erase(0, newline + 1);
        return line;
      }
      char buffer[4096];
      const ssize_t got = ::read(output_[0], buffer, sizeof(buffer));
      CHECK(got >= 0);
      if (got == 0) {
        return std::exchange(received_, {});
      }
      received_.append(buffer, static_cast<size_t>(got));
    }
  }
  int Join() {
    gateway_.join();
    return exit_code_;
  }

  int input_[2];
  int output_[2];
  StopEvent stop_;
  InboxLimits limits_;
  std::thread gateway_;
  int exit_code_ = -1;
  std::string received_;
};

const char kInit[] = R"("node_id":"n1","node_ids":["n1"])";

TEST_F(GatewayTest, InitIsAnsweredBeforeTheClusterIsThere) {
  absl::Notification start;
  Start([&]() -> absl::StatusOr<std::unique_ptr<ClusterBackend>> {
    start.WaitForNotification();
    return std::make_unique<FakeBackend>();
  });
  Send(Line("init", 1, kInit));  // no newline either
  EXPECT_EQ(Receive(), Ok("init", 1, 0));
  Send(Line("write", 2, R"("key":"k","value":1)"));
  Send(Line("dance", 3));
  start.Notify();
  EXPECT_EQ(Receive(), Ok("write", 2, 1));
  EXPECT_EQ(Receive(), Error(3, 2, 10, "unknown type 'dance'"));
  EndInput();
  EXPECT_EQ(Receive(), "");
  EXPECT_EQ(Join(), 0);
}

TEST_F(GatewayTest, AClusterThatCannotStartEndsNothing) {
  Start([]() -> absl::StatusOr<std::unique_ptr<ClusterBackend>> {
    return absl::InternalError("no space");
  });
  Send(Line("server_status", 1));
  EXPECT_EQ(Receive(), Error(1, 0, 11, "there is no cluster: no space"));
  Send(Line("init", 2, kInit));
  EXPECT_EQ(Receive(), Ok("init", 2, 1));
  EndInput();
  EXPECT_EQ(Join(), 0);
}

TEST_F(GatewayTest, TheEndOfInputWaitsForTheMoveAndWhatIsBehindIt) {
  auto backend = std::make_unique<SlowBackend>();
  SlowBackend& slow = *backend;
  Start(std::move(backend));
  Send(Line("init", 1, kInit) + "\n" +
       Line("rebalance_execute", 2, R"("moves":[{"chunk":"c","from":"a","to":"b"}])") + "\n" +
       Line("server_status", 3) + "\n{\"src\":\"c1\"");
  slow.begun.WaitForNotification();
  EXPECT_EQ(Receive(), Ok("init", 1, 0));  // not held back by the move
  EndInput();
  slow.go_on.Notify();
  EXPECT_EQ(Receive(), Ok("rebalance_execute", 2, 1, R"("moved":1,"bytes_transferred":67108864)"));
  EXPECT_EQ(Receive(), Ok("server_status", 3, 2, R"("servers":[])"));
  EXPECT_EQ(Receive(), "");
  EXPECT_EQ(Join(), 0);
}

TEST_F(GatewayTest, HeartbeatsBehindASlowMoveShowThatTheirServersLive) {
  limits_.slow_after = absl::ZeroDuration();
  auto backend = std::make_unique<SlowBackend>();
  SlowBackend& slow = *backend;
  Start(std::move(backend));
  Send(Line("rebalance_execute", 1, R"("moves":[])"));
  slow.begun.WaitForNotification();
  Send(Line("heartbeat", 2, R"("server":"cs9","chunks":[],"disk_usage_pct":1)"));
  slow.touched.WaitForNotification();
  EXPECT_THAT(slow.calls(), ElementsAre("move", "touch cs9"));
  slow.go_on.Notify();
  EXPECT_THAT(Receive(), HasSubstr("rebalance_execute_ok"));
  EXPECT_THAT(Receive(), HasSubstr("heartbeat_ok"));
  EndInput();
  EXPECT_EQ(Join(), 0);
}

TEST_F(GatewayTest, StoppedItSpeaksForNoMoreServers) {
  limits_.slow_after = absl::ZeroDuration();
  auto backend = std::make_unique<SlowBackend>();
  SlowBackend& slow = *backend;
  int touches = 0;
  slow.on_touch = [&] {
    ++touches;
    stop_.Set();
  };
  Start(std::move(backend));
  Send(Line("rebalance_execute", 1, R"("moves":[])"));
  slow.begun.WaitForNotification();
  Send(Line("heartbeat", 2, R"("server":"cs1","chunks":[],"disk_usage_pct":1)") +
       Line("heartbeat", 3, R"("server":"cs2","chunks":[],"disk_usage_pct":1)"));
  slow.touched.WaitForNotification();
  slow.go_on.Notify();
  EXPECT_THAT(Receive(), HasSubstr("rebalance_execute_ok"));
  EXPECT_EQ(Receive(), "");
  EXPECT_EQ(Join(), 0);
  EXPECT_EQ(touches, 1);
}

TEST_F(GatewayTest, StoppedItAnswersTheMessageAtWorkOnly) {
  auto backend = std::make_unique<SlowBackend>();
  SlowBackend& slow = *backend;
  Start(std::move(backend));
  Send(Line("rebalance_execute", 1, R"("moves":[])") + Line("server_status", 2));
  slow.begun.WaitForNotification();
  stop_.Set();
  slow.go_on.Notify();
  EXPECT_THAT(Receive(), HasSubstr("rebalance_execute_ok"));
  EXPECT_EQ(Receive(), "");
  EXPECT_EQ(Join(), 0);
}

TEST_F(GatewayTest, ReplyPipeThatBreaksEndsItWithOne) {
  ::close(std::exchange(output_[0], -1));
  Start(std::make_unique<FakeBackend>());
  Send(Line("server_status", 1));
  EXPECT_EQ(Join(), 1);
}

TEST_F(GatewayTest, ManyMessagesComeBackInOrder) {
  limits_.bytes_max = 1000;
  Start(std::make_unique<FakeBackend>());
  constexpr int kCount = 20000;
  std::thread sender([&] {
    std::string batch;
    for (int i = 0; i < kCount; ++i) {
      batch += Line("heartbeat", i, R"("server":"s","chunks":["a"],"disk_usage_pct":1)") + "\n";
    }
    Send(batch);
    EndInput();
  });
  for (int i = 0; i < kCount; ++i) {
    ASSERT_THAT(Receive(), HasSubstr(absl::StrCat("\"in_reply_to\":", i, ",\"msg_id\":", i, ",")));
  }
  EXPECT_EQ(Receive(), "");
  sender.join();
  EXPECT_EQ(Join(), 0);
}

TEST_F(GatewayTest, OutputThatNobodyReadsHoldsTheInputUp) {
  limits_.count_max = 10;
  Start(std::make_unique<FakeBackend>());
  CHECK_EQ(::fcntl(input_[1], F_SETFL, O_NONBLOCK), 0);
  // Both pipes fill up, then the inbox: a bounded number of lines goes in.
  const std::string line = Line("server_status", 1) + "\n";
  size_t sent = 0;
  for (int refused = 0; refused < 1000;) {
    if (::write(input_[1], line.data(), line.size()) == static_cast<ssize_t>(line.size())) {
      ++sent;
      refused = 0;
    } else {
      ++refused;
      std::this_thread::yield();
    }
    ASSERT_LT(sent, 100000u);
  }
  std::thread reader([&] {
    while (!Receive().empty()) {
    }
  });
  EndInput();
  EXPECT_EQ(Join(), 0);
  reader.join();
}

}  // namespace
}  // namespace ballast::gateway
