// SPDX-License-Identifier: Apache-2.0
#include "gateway/scratch_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/env/file_system.h"
#include "common/types/error.h"

namespace ballast::gateway {
namespace {

constexpr char kPrefix[] = "ballast-gateway-";
constexpr char kLockFile[] = "in_use";
constexpr int kTriesMax = 8;

// The file's descriptor with its lock, which ends with the process; -1 if somebody holds it, or the
// file is not there or not ours.
int Lock(const std::string& folder, int flags) {
  const int file = open(JoinPath(folder, kLockFile).c_str(),
                        flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    close(file);
    errno = error;
    return -1;
  }
  return file;
}

void Remove(const std::string& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (error) {
    LogWarning("gateway.scratch_left", {{"folder", folder}, {"error", error.message()}});
  }
}

// What processes that were killed have left.
void RemoveLeftovers(const std::string& where) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(where, error), end; !error && it != end;
       it.increment(error)) {
    const std::string folder = it->path().string();
    if (it->path().filename().string().rfind(kPrefix, 0) != 0) {
      continue;
    }
    if (const int lock = Lock(folder, /*flags=*/0); lock >= 0) {
      LogInfo("gateway.leftovers_removed", {{"folder", folder}});
      Remove(folder);
      close(lock);
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ScratchFolder>> ScratchFolder::Make(const std::string& parent) {
  std::string where = parent;
  if (where.empty()) {
    const char* const set = std::getenv("TMPDIR");
    where = set != nullptr && set[0] != '\0' ? set : "/tmp";
  }
  RemoveLeftovers(where);
  std::string error;
  // Who removes leftovers may take a lock that was about to be held: then another folder will do.
  for (int tries = 0; tries < kTriesMax; ++tries) {
    std::string path = JoinPath(where, absl::StrCat(kPrefix, "XXXXXX"));
    if (mkdtemp(path.data()) == nullptr) {
      return InvalidArgument(
          absl::StrCat("cannot make a folder in ", where, ": ", std::strerror(errno)));
    }
    const int lock = Lock(path, O_CREAT | O_EXCL);
    if (lock >= 0) {
      return std::unique_ptr<ScratchFolder>(new ScratchFolder(std::move(path), lock));
    }
    error = absl::StrCat("cannot use a file in ", path, ": ", std::strerror(errno));
    Remove(path);
  }
  return InvalidArgument(error);
}

ScratchFolder::~ScratchFolder() {
  Remove(path_);
  close(lock_);
}

}  // namespace ballast::gateway
