// SPDX-License-Identifier: Apache-2.0
#include "client/cli/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "client/cli/text_output.h"

namespace ballast::client {
namespace {

constexpr absl::Duration kFrame = absl::Milliseconds(100);
constexpr int kDefaultColumns = 80;

// Returns to the line's start and clears it (ECMA-48: CR, EL 0).
constexpr char kClearLine[] = "\r\x1b[K";

int TerminalColumns() {
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return size.ws_col;
  }
  return kDefaultColumns;
}

}  // namespace

ProgressBar::ProgressBar(bool shown, std::string label, const Progress& progress)
    : label_(std::move(label)), progress_(progress), begin_(RealClock().SteadyNow()) {
  if (shown) {
    thread_ = std::thread([this] { Run(); });
  }
}

ProgressBar::~ProgressBar() {
  if (thread_.joinable()) {
    done_.Cancel();
    thread_.join();
  }
}

void ProgressBar::Run() {
  // What is over within two frames is not worth a flicker.
  if (done_.WaitFor(2 * kFrame)) {
    return;
  }
  do {
    const std::string line = ProgressText(label_, progress_.bytes_done, progress_.bytes_total,
                                          RealClock().SteadyNow() - begin_, TerminalColumns() - 1);
    std::fprintf(stderr, "%s%s", kClearLine, line.c_str());
  } while (!done_.WaitFor(kFrame));
  std::fputs(kClearLine, stderr);
}

}  // namespace ballast::client
