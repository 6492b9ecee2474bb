// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"

namespace ballast {

// What a replicated log drives. Its state is cut into *images*, each with an applied index of its
// own: a snapshot writes one image at a time, so that nothing stops for long, and afterwards
// replay skips, image by image, what the image already holds. A master's images are its shards and
// one "group" image; shardctl has a single one. An image is also what migration ships.
//
// Invariant: the bytes of all images depend only on the sequence of applied (index, command)
// pairs: no clock, no randomness, no hash order, no I/O.
//
// Concurrency: none; all calls come from the log's executor.
// Failure: a command that cannot be carried out is a *result*, not an error: it changes nothing
// but, where the command says so, its session. A command that cannot be parsed is a bug or
// corruption and CHECK-fails.
class StateMachine {
 public:
  virtual ~StateMachine() = default;

  // Applies a committed command and returns its result for whoever proposed it (opaque to the
  // log). Indexes grow, with gaps where the log holds entries of its own. Parts that belong to an
  // image whose applied index is >= `index` are skipped; then the result may be empty.
  virtual std::string Apply(RaftIndex index, absl::string_view command) = 0;

  // Stable names of all images ([a-z0-9-], at most 32 characters), sorted.
  virtual std::vector<std::string> ImageNames() const = 0;

  // Serialises one image as of the last applied index, which it holds inside. Called once a turn
  // of the executor.
  virtual std::string TakeImage(const std::string& name) const = 0;

  // Replaces one image. Every byte is treated as hostile: DATA_LOSS and unchanged state of that
  // image on anything malformed.
  virtual absl::Status RestoreImage(const std::string& name, absl::string_view image) = 0;

  // Back to the state before index 1 (an install of another's snapshot begins).
  virtual void Reset() = 0;
};

}  // namespace ballast
