// SPDX-License-Identifier: Apache-2.0
#include "client/sink.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/uuid.h"

namespace ballast::client {
namespace {

absl::Status WriteError(const std::string& name, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat("writing ", name));
}

class FileSink final : public Sink {
 public:
  FileSink(int fd, std::string partial, std::string path)
      : fd_(fd), partial_(std::move(partial)), path_(std::move(path)) {}

  ~FileSink() override {
    if (fd_ >= 0) {
      ::close(fd_);
      ::unlink(partial_.c_str());
    }
  }

  bool unordered() const override { return true; }

  absl::Status WriteAt(uint64_t offset, absl::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n < 0) {
        return WriteError(path_, errno);
      }
      bytes.remove_prefix(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    const int closed = ::close(std::exchange(fd_, -1));  // where some file systems say "disk full"
    if (closed != 0 || std::rename(partial_.c_str(), path_.c_str()) != 0) {
      const int error = errno;
      ::unlink(partial_.c_str());
      return WriteError(path_, error);
    }
    return absl::OkStatus();
  }

 private:
  int fd_;  // -1 once finished
  const std::string partial_;
  const std::string path_;
};

class DescriptorSink final : public Sink {
 public:
  DescriptorSink(int fd, bool owned, std::string name)
      : fd_(fd), owned_(owned), name_(std::move(name)) {}

  ~DescriptorSink() override {
    if (owned_) {
      ::close(fd_);
    }
  }

  bool unordered() const override { return false; }

  absl::Status WriteAt(uint64_t, absl::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n < 0) {
        return WriteError(name_, errno);
      }
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return absl::OkStatus();
  }

 private:
  const int fd_;
  const bool owned_;
  const std::string name_;
};

class StringSink final : public Sink {
 public:
  StringSink(std::string* out, uint64_t bytes_max) : out_(out), bytes_max_(bytes_max) {}
  bool unordered() const override { return false; }
  absl::Status WriteAt(uint64_t, absl::string_view bytes) override {
    if (out_->size() + bytes.size() > bytes_max_) {
      return absl::ResourceExhaustedError(absl::StrCat("more than ", bytes_max_, " bytes"));
    }
    out_->append(bytes.data(), bytes.size());
    return absl::OkStatus();
  }

 private:
  std::string* const out_;
  const uint64_t bytes_max_;
};

class CallbackSink final : public Sink {
 public:
  explicit CallbackSink(WriteFunction write) : write_(std::move(write)) {}
  bool unordered() const override { return false; }
  absl::Status WriteAt(uint64_t, absl::string_view bytes) override { return write_(bytes); }

 private:
  const WriteFunction write_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Sink>> CreateFileSink(const std::string& path) {
  struct stat facts;
  if (::stat(path.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode)) {
    if (S_ISDIR(facts.st_mode)) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is a folder; name a file in it"));
    }
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
    }
    return std::unique_ptr<Sink>(std::make_unique<DescriptorSink>(fd, true, path));
  }
  const size_t slash = path.rfind('/');
  const size_t name = slash == std::string::npos ? 0 : slash + 1;
  // Cut, so that a name at the file system's limit still has room for the suffix.
  const std::string partial = absl::StrCat(path.substr(0, name), ".", path.substr(name, 180), ".",
                                           MakeUuid().substr(0, 8), ".partial");
  const int fd = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("creating ", path));
  }
  return std::unique_ptr<Sink>(std::make_unique<FileSink>(fd, partial, path));
}

std::unique_ptr<Sink> MakeDescriptorSink(int fd, const std::string& name) {
  return std::make_unique<DescriptorSink>(fd, false, name);
}

std::unique_ptr<Sink> MakeStringSink(std::string* out, uint64_t bytes_max) {
  return std::make_unique<StringSink>(out, bytes_max);
}

std::unique_ptr<Sink> MakeCallbackSink(WriteFunction write) {
  return std::make_unique<CallbackSink>(std::move(write));
}

}  // namespace ballast::client
