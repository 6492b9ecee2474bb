// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace ballast::gateway {

// The id under which a server of this name, that only messages know, is registered in a cluster:
// the same for the same two, on every machine and in every session, so that a gateway that starts
// again speaks for the same server. The form of a UUID (version 8: from our own hash).
std::string ServerIdOf(absl::string_view cluster_id, absl::string_view name);

}  // namespace ballast::gateway
