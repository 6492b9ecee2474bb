// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace ballast::gateway {

// A new folder that only its user can read, removed with all that is in it when this object goes.
// A process that is killed leaves it behind. Nothing but this object may remove it; whoever uses
// files in it ends before.
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
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

}  // namespace ballast::gateway
