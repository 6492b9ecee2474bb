// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The only two control-flow macros of the project, with Abseil's names and meaning.

#define RETURN_IF_ERROR(expr)              \
  do {                                     \
    absl::Status ballast_status_ = (expr); \
    if (!ballast_status_.ok()) {           \
      return ballast_status_;              \
    }                                      \
  } while (false)

#define BALLAST_CONCAT_INNER(a, b) a##b
#define BALLAST_CONCAT(a, b) BALLAST_CONCAT_INNER(a, b)

#define BALLAST_ASSIGN_OR_RETURN(tmp, lhs, expr) \
  auto tmp = (expr);                             \
  if (!tmp.ok()) {                               \
    return std::move(tmp).status();              \
  }                                              \
  lhs = *std::move(tmp)

// ASSIGN_OR_RETURN(auto file, fs.Open(path));
#define ASSIGN_OR_RETURN(lhs, expr) \
  BALLAST_ASSIGN_OR_RETURN(BALLAST_CONCAT(ballast_status_or_, __LINE__), lhs, expr)
