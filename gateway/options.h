// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gateway/backends.h"

namespace ballast::gateway {

// What the gateway program was told.
struct Options {
  RemoteBackendOptions remote;  // no addresses: the embedded cluster
  EmbeddedBackendOptions embedded;
  bool verbose = false;  // log lines of information, too

  bool IsRemote() const { return !remote.cluster.empty(); }
};

// INVALID_ARGUMENT with one line that says what to write.
absl::Status Validate(const Options& options);

// Prints and exits where the command line asks for it or is wrong (exit code 2).
Options ParseOptionsOrExit(int argc, char** argv);

}  // namespace ballast::gateway
