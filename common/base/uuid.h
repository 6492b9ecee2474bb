// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace ballast {

// A random UUID (RFC 4122, version 4) in its 36-character lower-case form, from the kernel's
// generator. Made once, at format; never in a core.
std::string MakeUuid();

// True for exactly the form that MakeUuid returns (any version digit, lower case).
bool IsUuid(absl::string_view text);

}  // namespace ballast
