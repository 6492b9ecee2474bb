// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace ballast::master {

// `count` consecutive chunk sequences of one shard: [first, first + count).
struct Run {
  uint64_t first = 0;
  uint64_t count = 0;
  uint64_t end() const { return first + count; }
  friend bool operator==(const Run&, const Run&) = default;
};
using Runs = std::vector<Run>;

// Appends a run, extending the last one if it continues it. Requires: count > 0.
inline void AppendRun(Runs& runs, Run run) {
  if (!runs.empty() && runs.back().end() == run.first) {
    runs.back().count += run.count;
  } else {
    runs.push_back(run);
  }
}

inline uint64_t CountOf(absl::Span<const Run> runs) {
  uint64_t count = 0;
  for (const Run& run : runs) count += run.count;
  return count;
}

// fn(uint64_t position, uint64_t sequence) for positions [first, first + count) of the list that
// the runs spell out, as far as it goes.
template <typename Fn>
void ForEachInRuns(absl::Span<const Run> runs, uint64_t first, uint64_t count, Fn&& fn) {
  uint64_t position = 0;
  for (const Run& run : runs) {
    if (position + run.count > first) {
      for (uint64_t i = first > position ? first - position : 0; i < run.count; ++i) {
        if (count-- == 0) return;
        fn(position + i, run.first + i);
      }
    }
    position += run.count;
  }
}

}  // namespace ballast::master
