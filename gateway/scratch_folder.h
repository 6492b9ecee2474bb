// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace ballast::gateway {

// A new folder that only its user can read, removed with all that is in it when this object goes.
// A process that is killed leaves it behind: the next Make of the same user beside it removes it,
// which a lock on a file in it allows only when its process has ended. Nothing else may remove it;
// whoever uses files in it ends before.
class ScratchFolder {
 public:
  // Below `parent`, or where $TMPDIR says (else /tmp) if that is empty.
  //   INVALID_ARGUMENT   no folder can be made there; the text says why
  static absl::StatusOr<std::unique_ptr<ScratchFolder>> Make(const std::string& parent);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  ScratchFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  const std::string path_;
  const int lock_;  // of the file in it, held
};

}  // namespace ballast::gateway
