// SPDX-License-Identifier: Apache-2.0
#include "gateway/standard_streams.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace ballast::gateway {
namespace {

constexpr size_t kKeptCapacity = 256 * 1024;

absl::Status Broken(absl::string_view what, int error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", ::strerror(error)));
}

}  // namespace

StopEvent::StopEvent() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { CHECK(fd_ >= 0); }
StopEvent::~StopEvent() { ::close(fd_); }

void StopEvent::Set() {
  const uint64_t one = 1;
  CHECK(::write(fd_, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
}

bool StopEvent::IsSet() const {
  pollfd event = {fd_, POLLIN, 0};
  return ::poll(&event, 1, 0) == 1;
}

InputStream::Ready InputStream::Wait(absl::Duration timeout) {
  pollfd events[] = {{stop_.fd(), POLLIN, 0}, {fd_, POLLIN, 0}};
  const int timeout_ms = timeout == absl::InfiniteDuration()
                             ? -1
                             : static_cast<int>(absl::ToInt64Milliseconds(timeout));
  const int ready = ::poll(events, 2, timeout_ms);
  if (events[0].revents != 0) {
    return Ready::kStopped;
  }
  return ready > 0 ? Ready::kInput : Ready::kTimeout;
}

absl::StatusOr<size_t> InputStream::Read(absl::Span<char> buffer) {
  for (;;) {
    const ssize_t got = ::read(fd_, buffer.data(), buffer.size());
    if (got >= 0) {
      return static_cast<size_t>(got);
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (Wait(absl::InfiniteDuration()) == Ready::kStopped) {
        return absl::CancelledError("stopped");
      }
    } else if (errno != EINTR) {
      return Broken("reading standard input", errno);
    }
  }
}

absl::Status OutputStream::Flush() {
  absl::string_view rest = waiting_;
  while (failed_.ok() && !rest.empty()) {
    const ssize_t wrote = ::write(fd_, rest.data(), rest.size());
    if (wrote >= 0) {
      rest.remove_prefix(static_cast<size_t>(wrote));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd event = {fd_, POLLOUT, 0};
      ::poll(&event, 1, -1);
    } else if (errno != EINTR) {
      failed_ = Broken("writing standard output", errno);
    }
  }
  if (waiting_.capacity() > kKeptCapacity) {
    std::string().swap(waiting_);
  } else {
    waiting_.clear();
  }
  return failed_;
}

bool HasRoom(int fd) {
  pollfd event = {fd, POLLOUT, 0};
  return ::poll(&event, 1, 0) == 1 && (event.revents & POLLOUT) != 0;
}

void OccupyStandardDescriptors() {
  for (const int fd : {0, 1, 2}) {
    if (::fcntl(fd, F_GETFD) == -1 && errno == EBADF) {
      CHECK_EQ(::open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY), fd);
    }
  }
}

}  // namespace ballast::gateway
