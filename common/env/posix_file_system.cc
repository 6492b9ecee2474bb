// SPDX-License-Identifier: Apache-2.0
// Linux implementation of the disk seam.
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/env/file_system.h"

namespace ballast {
namespace {

absl::Status ErrnoStatus(int error, absl::string_view verb, absl::string_view path) {
  const std::string text = absl::StrCat(verb, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(text);
    case EEXIST:
    case ENOTEMPTY:
      return absl::AlreadyExistsError(text);
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(text);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(text);
    case EWOULDBLOCK:
      return absl::FailedPreconditionError(text);
    case EIO:
      return absl::DataLossError(text);
    default:
      return absl::InternalError(text);
  }
}

class PosixFile final : public File {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFile() override { close(fd_); }

  absl::Status WriteAt(uint64_t offset, absl::string_view data) override {
    while (!data.empty()) {
      const ssize_t n = pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0) {
        if (errno == EINTR) {
          continue;
        }
        return ErrnoStatus(errno, "write", path_);
      }
      offset += static_cast<uint64_t>(n);
      data.remove_prefix(static_cast<size_t>(n));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> ReadAt(uint64_t offset, size_t bytes, char* out) override {
    size_t done = 0;
    while (done < bytes) {
      const ssize_t n = pread(fd_, out + done, bytes - done, static_cast<off_t>(offset + done));
      if (n < 0) {
        if (errno == EINTR) {
          continue;
        }
        return ErrnoStatus(errno, "read", path_);
      }
      if (n == 0) {
        break;
      }
      done += static_cast<size_t>(n);
    }
    return done;
  }

  absl::Status Sync() override {
    return fdatasync(fd_) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "fdatasync", path_);
  }

  void StartWriteback(uint64_t offset, uint64_t bytes) override {
    sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                    SYNC_FILE_RANGE_WRITE);
  }

  absl::Status Truncate(uint64_t bytes) override {
    return ftruncate(fd_, static_cast<off_t>(bytes)) == 0 ? absl::OkStatus()
                                                          : ErrnoStatus(errno, "truncate", path_);
  }

  absl::Status Allocate(uint64_t bytes) override {
    int error = 0;
    do {
      error = posix_fallocate(fd_, 0, static_cast<off_t>(bytes));
    } while (error == EINTR);
    return error == 0 ? absl::OkStatus() : ErrnoStatus(error, "allocate", path_);
  }

  void ReleaseZeros(uint64_t offset, uint64_t bytes) override {
    fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
              static_cast<off_t>(bytes));
  }

  absl::StatusOr<uint64_t> Size() override {
    struct stat info;
    if (fstat(fd_, &info) != 0) {
      return ErrnoStatus(errno, "stat", path_);
    }
    return static_cast<uint64_t>(info.st_size);
  }

  int descriptor() const override { return fd_; }

 private:
  const int fd_;
  const std::string path_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(int fd) : fd_(fd) {}
  ~PosixLock() override { close(fd_); }

 private:
  const int fd_;
};

class PosixFs final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    int flags = O_CLOEXEC;
    switch (mode) {
      case OpenMode::kRead:
        flags |= O_RDONLY;
        break;
      case OpenMode::kReadWrite:
        flags |= O_RDWR;
        break;
      case OpenMode::kCreate:
        flags |= O_RDWR | O_CREAT;
        break;
      case OpenMode::kCreateExclusive:
        flags |= O_RDWR | O_CREAT | O_EXCL;
        break;
    }
    const int fd = open(path.c_str(), flags, 0644);
    if (fd < 0) {
      return ErrnoStatus(errno, "open", path);
    }
    return std::make_unique<PosixFile>(fd, path);
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    return rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus()
                                                 : ErrnoStatus(errno, "rename to", to);
  }

  absl::Status RenameExclusive(const std::string& from, const std::string& to) override {
    if (syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) ==
        0) {
      return absl::OkStatus();
    }
    return ErrnoStatus(errno, "rename to", to);
  }

  absl::Status Remove(const std::string& path) override {
    return remove(path.c_str()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "remove", path);
  }

  absl::Status CreateDir(const std::string& path) override {
    if (mkdir(path.c_str(), 0755) == 0) {
      return absl::OkStatus();
    }
    const int error = errno;
    struct stat info;
    if (error == EEXIST && stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
      return absl::OkStatus();
    }
    return ErrnoStatus(error, "create folder", path);
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    DIR* dir = opendir(path.c_str());
    if (dir == nullptr) {
      return ErrnoStatus(errno, "list", path);
    }
    const absl::Cleanup close_dir = [dir] { closedir(dir); };
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(dir)) {
      const absl::string_view name = entry->d_name;
      if (name != "." && name != "..") {
        names.emplace_back(name);
      }
    }
    if (errno != 0) {
      return ErrnoStatus(errno, "list", path);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::StatusOr<bool> Exists(const std::string& path) override {
    struct stat info;
    if (stat(path.c_str(), &info) == 0) {
      return true;
    }
    if (errno == ENOENT || errno == ENOTDIR) {
      return false;
    }
    return ErrnoStatus(errno, "stat", path);
  }

  absl::StatusOr<uint64_t> FileSize(const std::string& path) override {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) {
      return ErrnoStatus(errno, "stat", path);
    }
    return static_cast<uint64_t>(info.st_size);
  }

  absl::Status SyncDir(const std::string& path) override {
    const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
      return ErrnoStatus(errno, "open folder", path);
    }
    const absl::Cleanup close_fd = [fd] { close(fd); };
    return fsync(fd) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "fsync folder", path);
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
      return ErrnoStatus(errno, "open", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      close(fd);
      if (error == EWOULDBLOCK) {
        return absl::FailedPreconditionError(
            absl::StrCat(path, " is locked: another process is using this folder"));
      }
      return ErrnoStatus(error, "lock", path);
    }
    return std::make_unique<PosixLock>(fd);
  }

  absl::StatusOr<SpaceInfo> Space(const std::string& path) override {
    struct statvfs info;
    if (statvfs(path.c_str(), &info) != 0) {
      return ErrnoStatus(errno, "statvfs", path);
    }
    return SpaceInfo{.capacity_bytes = uint64_t{info.f_blocks} * info.f_frsize,
                     .free_bytes = uint64_t{info.f_bavail} * info.f_frsize};
  }
};

}  // namespace

FileSystem& PosixFileSystem() {
  static PosixFs* fs = new PosixFs();
  return *fs;
}

}  // namespace ballast
