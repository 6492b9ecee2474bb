// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace ballast::testing {

// "00000000  42 4c ..", 16 bytes a line: the form of worked examples in docs/formats.
std::string HexDump(absl::string_view bytes);

// The block "```hex <name>" of a document, to be compared with a dump; the path is from the top of
// the tree, where tests run.
std::string HexExample(const std::string& document, absl::string_view name);

}  // namespace ballast::testing
