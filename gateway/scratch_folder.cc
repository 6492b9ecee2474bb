// SPDX-License-Identifier: Apache-2.0
#include "gateway/scratch_folder.h"

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

absl::StatusOr<std::unique_ptr<ScratchFolder>> ScratchFolder::Make(const std::string& parent) {
  std::string where = parent;
  if (where.empty()) {
    const char* const set = std::getenv("TMPDIR");
    where = set != nullptr && set[0] != '\0' ? set : "/tmp";
  }
  std::string path = JoinPath(where, "ballast-gateway-XXXXXX");
  if (mkdtemp(path.data()) == nullptr) {
    return InvalidArgument(
        absl::StrCat("cannot make a folder in ", where, ": ", std::strerror(errno)));
  }
  return std::unique_ptr<ScratchFolder>(new ScratchFolder(std::move(path)));
}

ScratchFolder::~ScratchFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) {
    LogWarning("gateway.scratch_left", {{"folder", path_}, {"error", error.message()}});
  }
}

}  // namespace ballast::gateway
