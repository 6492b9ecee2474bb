// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/cli/cli_options.h"
#include "client/client.h"

namespace ballast::client {

// One invocation with its client.
struct Command {
  const CliOptions& options;
  Cancellation& cancel;
  std::unique_ptr<Client> client;
  bool failed = false;  // something went wrong and has been said already

  bool notes_wanted() const;
};

// To standard output.
absl::Status Print(absl::string_view text);
// `json` if that is wanted, as a line, else `text`.
absl::Status PrintEither(const Command& command, const std::string& json, const std::string& text);

}  // namespace ballast::client
