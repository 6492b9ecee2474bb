// SPDX-License-Identifier: Apache-2.0
#include "common/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace ballast::internal {

CheckFailure::CheckFailure(const char* file, int line, const char* what) {
  stream_ << file << ":" << line << ": CHECK failed: " << what;
}

CheckFailure::CheckFailure(const char* file, int line, const std::string& what)
    : CheckFailure(file, line, what.c_str()) {}

CheckFailure::~CheckFailure() {
  stream_ << "\n";
  const std::string text = stream_.str();
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
  std::abort();
}

}  // namespace ballast::internal
