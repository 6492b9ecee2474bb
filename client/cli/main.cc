// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "client/cancellation.h"
#include "client/cli/cli_options.h"
#include "client/cli/commands.h"

namespace {

// The first Ctrl-C asks the command to stop and clean up; the second one ends the process.
void CancelOnSignals(ballast::client::Cancellation& cancel) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // inherited by every thread from here on
  ::signal(SIGPIPE, SIG_IGN);                     // a closed pipe is a failed write
  std::thread([&cancel, signals] {
    int signal = 0;
    sigwait(&signals, &signal);
    cancel.Cancel();
    sigwait(&signals, &signal);
    ::_exit(128 + signal);
  }).detach();
}

}  // namespace

int main(int argc, char** argv) {
  const ballast::client::CliParse parse =
      ballast::client::ParseCli(std::vector<std::string>(argv + 1, argv + argc));
  if (!parse.proceed) {
    std::fputs(parse.text.c_str(), parse.exit_code == 0 ? stdout : stderr);
    return parse.exit_code;
  }
  // Lives as long as the process: the signal thread is never joined.
  auto* const cancel = new ballast::client::Cancellation;
  CancelOnSignals(*cancel);
  return ballast::client::RunCommand(parse.options, *cancel);
}
