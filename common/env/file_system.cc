// SPDX-License-Identifier: Apache-2.0
#include "common/env/file_system.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace ballast {

absl::StatusOr<std::string> ReadFile(FileSystem& fs, const std::string& path, uint64_t bytes_max) {
  ASSIGN_OR_RETURN(const auto file, fs.Open(path, OpenMode::kRead));
  ASSIGN_OR_RETURN(const uint64_t bytes, file->Size());
  if (bytes > bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": ", bytes, " bytes, more than the ", bytes_max, " expected at most"));
  }
  std::string data(bytes, '\0');
  ASSIGN_OR_RETURN(const size_t got, file->ReadAt(0, data.size(), data.data()));
  data.resize(got);
  return data;
}

absl::Status WriteFileAtomically(FileSystem& fs, const std::string& path, absl::string_view data) {
  const std::string temporary = absl::StrCat(path, ".tmp");
  {
    ASSIGN_OR_RETURN(const auto file, fs.Open(temporary, OpenMode::kCreate));
    RETURN_IF_ERROR(file->Truncate(0));
    RETURN_IF_ERROR(file->WriteAt(0, data));
    RETURN_IF_ERROR(file->Sync());
  }
  RETURN_IF_ERROR(fs.Rename(temporary, path));
  return fs.SyncDir(ParentPath(path));
}

std::string JoinPath(absl::string_view folder, absl::string_view name) {
  return absl::StrCat(folder, absl::EndsWith(folder, "/") ? "" : "/", name);
}

std::string ParentPath(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) {
    return ".";
  }
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

}  // namespace ballast
