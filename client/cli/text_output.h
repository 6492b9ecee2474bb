// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/client.h"

namespace ballast::client {

// What `ballast` prints for people. Pure: text out of values.

// Rows under a heading, columns two spaces apart, numbers to the right. Rows may be ragged.
class Table {
 public:
  enum class Align { kLeft, kRight };
  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}
  void Row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string ToString() const;

 private:
  const std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// A name fit for one line of a terminal: control characters, and whatever is no UTF-8, as \n, \t,
// \x1b.
std::string PrintableKey(absl::string_view key);

std::string ObjectText(const v1::ObjectInfo& object);
std::string ObjectLine(const v1::ObjectInfo& object);  // for ls --long
std::string StatusText(const ClusterStatus& status);
std::string ServersText(const ClusterStatus& status);
std::string ConfigurationText(const v1::Configuration& configuration);
std::string SettingsText(const v1::Settings& settings);

// "1.2 GiB in 3.1 s (390 MiB/s)".
std::string RateText(uint64_t bytes, absl::Duration took);

// One line: what failed, why, and what to do about it where that is known.
std::string ErrorText(absl::string_view what, const absl::Status& status);

// One line of at most `width` columns: label, share, bar, bytes, rate, time left. `total` 0: the
// size is not known, no bar.
std::string ProgressText(absl::string_view label, uint64_t done, uint64_t total,
                         absl::Duration elapsed, int width);

// The word for a liveness or an administrative state.
absl::string_view LivenessName(v1::Liveness liveness);
absl::string_view StateName(v1::ServerState state);

// A registered server and what a master says of it (null: no master was asked or it is unknown
// there).
struct ServerView {
  const v1::RegisteredServer* registered;
  const v1::ServerStatus* status;
};
std::vector<ServerView> JoinServers(const ClusterStatus& status);

}  // namespace ballast::client
