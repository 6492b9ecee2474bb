// SPDX-License-Identifier: Apache-2.0
#include "common/cli/stop_signal.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "common/base/check.h"

namespace ballast {
namespace {

std::atomic<int> requested{0};

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

void BlockStopSignals() {
  const sigset_t signals = StopSignals();
  CHECK_EQ(pthread_sigmask(SIG_BLOCK, &signals, nullptr), 0);
  signal(SIGPIPE, SIG_IGN);
}

int WaitForStop() {
  const sigset_t signals = StopSignals();
  int signal_number = 0;
  CHECK_EQ(sigwait(&signals, &signal_number), 0);
  // Only this thread: a second signal to the process then finds a thread that takes it.
  CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &signals, nullptr), 0);
  return requested.load();
}

void RequestStop(int exit_code) {
  int none = 0;
  requested.compare_exchange_strong(none, exit_code);
  kill(getpid(), SIGTERM);
}

}  // namespace ballast
