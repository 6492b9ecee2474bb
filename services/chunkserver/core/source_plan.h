// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace ballast::chunkserver {

// Decides for one copy which source is asked next and when it is given up: each source once, in the
// order of the command, best first. A source that was asked over an idle connection which turned
// out to be dead is asked once more, over a new one, before the next.
//
// Concurrency: none; its owner serialises. Pure.
class SourcePlan {
 public:
  // `names`: of the sources, for people.
  explicit SourcePlan(std::vector<std::string> names) : names_(std::move(names)) {}

  struct Try {
    size_t source = 0;
    bool new_connection = false;  // an idle one is not to be trusted
  };
  // The source to ask now; none: all have failed.
  std::optional<Try> Next() const;

  // How a try ended that did not give the chunk.
  struct Failure {
    absl::Status status;
    bool connection_was_idle = false;  // it had served another call before
    bool got_bytes = false;
  };
  void OnFailed(const Failure& failure);

  // UNAVAILABLE / COPY_FAILED: which source failed why, within `text_bytes_max`.
  absl::Status GiveUp(size_t text_bytes_max) const;

 private:
  const std::vector<std::string> names_;
  std::vector<absl::Status> failures_;  // of the sources that are done with
  bool again_ = false;                  // the source at hand is asked a second time
};

}  // namespace ballast::chunkserver
