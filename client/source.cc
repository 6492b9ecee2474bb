// SPDX-License-Identifier: Apache-2.0
#include "client/source.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace ballast::client {
namespace {

// How soon a blocked read notices that it is no longer wanted.
constexpr int kPollMilliseconds = 100;

absl::Status ReadError(const std::string& name, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat("reading ", name));
}

// Owns the descriptor if asked to.
class Descriptor {
 public:
  Descriptor(int fd, bool owned) : fd_(fd), owned_(owned) {}
  ~Descriptor() {
    if (owned_) {
      ::close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
  const bool owned_;
};

class RegularFileSource final : public Source {
 public:
  RegularFileSource(std::unique_ptr<Descriptor> fd, std::string name, const struct stat& facts)
      : fd_(std::move(fd)), name_(std::move(name)), facts_(facts) {}

  bool rereadable() const override { return true; }
  std::optional<uint64_t> size_bytes() const override {
    return static_cast<uint64_t>(facts_.st_size);
  }

  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t bytes,
                                const Cancellation& stop) override {
    size_t done = 0;
    while (done < bytes) {
      if (stop.cancelled()) {
        return absl::CancelledError("cancelled");
      }
      const ssize_t n =
          ::pread(fd_->get(), out + done, bytes - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n < 0) {
        return ReadError(name_, errno);
      }
      if (n == 0) {
        break;
      }
      done += static_cast<size_t>(n);
    }
    return done;
  }

  absl::Status CheckUnchanged() override {
    struct stat now;
    if (::fstat(fd_->get(), &now) != 0) {
      return ReadError(name_, errno);
    }
    if (now.st_size != facts_.st_size) {
      return absl::FailedPreconditionError(
          absl::StrCat(name_, " changed while it was being stored: it had ", facts_.st_size,
                       " bytes and has ", now.st_size, " now; nothing was stored"));
    }
    if (now.st_mtim.tv_sec != facts_.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != facts_.st_mtim.tv_nsec) {
      return absl::FailedPreconditionError(absl::StrCat(
          name_, " was written to while it was being stored; nothing was stored, try again"));
    }
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<Descriptor> fd_;
  const std::string name_;
  const struct stat facts_;
};

class PipeSource final : public Source {
 public:
  PipeSource(std::unique_ptr<Descriptor> fd, std::string name)
      : fd_(std::move(fd)), name_(std::move(name)) {}

  bool rereadable() const override { return false; }
  std::optional<uint64_t> size_bytes() const override { return std::nullopt; }

  absl::StatusOr<size_t> ReadAt(uint64_t, char* out, size_t bytes,
                                const Cancellation& stop) override {
    size_t done = 0;
    while (done < bytes && !ended_) {
      pollfd ready = {fd_->get(), POLLIN, 0};
      const int polled = ::poll(&ready, 1, kPollMilliseconds);
      if (stop.cancelled()) {
        return absl::CancelledError("cancelled");
      }
      if (polled == 0 || (polled < 0 && errno == EINTR)) {
        continue;
      }
      const ssize_t n = ::read(fd_->get(), out + done, bytes - done);
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        continue;
      }
      if (n < 0) {
        return ReadError(name_, errno);
      }
      ended_ = n == 0;
      done += static_cast<size_t>(n);
    }
    return done;
  }

 private:
  const std::unique_ptr<Descriptor> fd_;
  const std::string name_;
  bool ended_ = false;
};

class StringSource final : public Source {
 public:
  explicit StringSource(absl::string_view bytes) : bytes_(bytes) {}
  bool rereadable() const override { return true; }
  std::optional<uint64_t> size_bytes() const override { return bytes_.size(); }
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t bytes,
                                const Cancellation&) override {
    const size_t begin = std::min<uint64_t>(offset, bytes_.size());
    const size_t n = std::min(bytes, bytes_.size() - begin);
    if (n > 0) {
      std::memcpy(out, bytes_.data() + begin, n);
    }
    return n;
  }

 private:
  const absl::string_view bytes_;
};

class CallbackSource final : public Source {
 public:
  explicit CallbackSource(ReadFunction read) : read_(std::move(read)) {}
  bool rereadable() const override { return false; }
  std::optional<uint64_t> size_bytes() const override { return std::nullopt; }
  absl::StatusOr<size_t> ReadAt(uint64_t, char* out, size_t bytes,
                                const Cancellation& stop) override {
    if (stop.cancelled()) {
      return absl::CancelledError("cancelled");
    }
    if (ended_) {
      return 0;
    }
    ASSIGN_OR_RETURN(const size_t n, read_(out, bytes));
    ended_ = n < bytes;
    return n;
  }

 private:
  const ReadFunction read_;
  bool ended_ = false;
};

absl::StatusOr<std::unique_ptr<Source>> Classify(std::unique_ptr<Descriptor> fd,
                                                 const std::string& name) {
  struct stat facts;
  if (::fstat(fd->get(), &facts) != 0) {
    return ReadError(name, errno);
  }
  if (S_ISDIR(facts.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is a folder, not a file"));
  }
  // A descriptor that was handed over in the middle of a file continues there: only a file read
  // from its front can be read in any order. Files of length 0 may be generated as they are read
  // (those of /proc are).
  if (S_ISREG(facts.st_mode) && facts.st_size > 0 && ::lseek(fd->get(), 0, SEEK_CUR) == 0) {
    return std::unique_ptr<Source>(std::make_unique<RegularFileSource>(std::move(fd), name, facts));
  }
  return std::unique_ptr<Source>(std::make_unique<PipeSource>(std::move(fd), name));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenFileSource(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
  }
  return Classify(std::make_unique<Descriptor>(fd, true), path);
}

absl::StatusOr<std::unique_ptr<Source>> MakeDescriptorSource(int fd, const std::string& name) {
  return Classify(std::make_unique<Descriptor>(fd, false), name);
}

std::unique_ptr<Source> MakeStringSource(absl::string_view bytes) {
  return std::make_unique<StringSource>(bytes);
}

std::unique_ptr<Source> MakeCallbackSource(ReadFunction read) {
  return std::make_unique<CallbackSource>(std::move(read));
}

}  // namespace ballast::client
