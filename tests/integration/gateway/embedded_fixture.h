// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/byte_units.h"
#include "common/env/file_system.h"
#include "gateway/embedded_backend.h"
#include "gateway/scratch_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::gateway::testing {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOkAndHolds;
using ::ballast::testing::StatusIs;

inline constexpr absl::Duration kPatience = absl::Seconds(30);

// An embedded cluster in a folder of the test's own, spoken to as the dispatcher does.
class EmbeddedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(parent_, ScratchFolder::Make(::testing::TempDir()));
    options_.folder = JoinPath(parent_->path(), "below");
    ASSERT_OK(PosixFileSystem().CreateDir(options_.folder));
    ASSERT_OK_AND_ASSIGN(backend_, EmbeddedBackend::Start(options_));
  }

  absl::StatusOr<HeartbeatOrders> Beat(const std::string& server, std::vector<std::string> chunks,
                                       double pct = 0, absl::Duration age = absl::ZeroDuration()) {
    return backend_->Heartbeat({server, std::move(chunks), pct, ""}, age);
  }
  // Empty if the server is not there.
  ServerRow Row(const std::string& server) {
    const auto rows = backend_->Servers();
    EXPECT_OK(rows);
    for (const ServerRow& row : rows.ok() ? *rows : std::vector<ServerRow>()) {
      if (row.server == server) return row;
    }
    return {};
  }
  // How many replicas each server has, as the master sees it.
  std::map<std::string, uint64_t> Counts() {
    std::map<std::string, uint64_t> counts;
    const auto rows = backend_->Servers();
    EXPECT_OK(rows);
    for (const ServerRow& row : rows.ok() ? *rows : std::vector<ServerRow>()) {
      counts[row.server] = row.chunk_count;
    }
    return counts;
  }
  MoveOutcome Move(const std::string& chunk, const std::string& from, const std::string& to) {
    const std::vector<ChunkMove> moves = {{chunk, from, to}};
    const auto outcomes = backend_->Move(moves);
    EXPECT_OK(outcomes);
    return outcomes.ok() && outcomes->size() == 1 ? outcomes->front() : MoveOutcome();
  }
  // The length of each chunk file in the servers' stores.
  std::vector<uint64_t> ChunkFiles() const {
    std::vector<uint64_t> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(options_.folder)) {
      const std::string path = entry.path().string();
      if (entry.is_regular_file() && path.find("/chunks/") != std::string::npos) {
        files.push_back(entry.file_size());
      }
    }
    return files;
  }
  // True as soon as `condition` holds; false after kPatience.
  static bool Eventually(const std::function<bool()>& condition) {
    const absl::Time end = absl::Now() + kPatience;
    while (!condition()) {
      if (absl::Now() > end) return false;
    }
    return true;
  }

  std::unique_ptr<ScratchFolder> parent_;
  EmbeddedBackendOptions options_;
  std::unique_ptr<EmbeddedBackend> backend_;
};

}  // namespace ballast::gateway::testing
