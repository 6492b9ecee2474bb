// SPDX-License-Identifier: Apache-2.0
#include "client/cli/pool_text.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/text_output.h"

namespace ballast::client {
namespace {

constexpr int kRows = 17, kColumns = 37;
constexpr double kTurn = 6.283185307179586;
constexpr char kLetters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
constexpr size_t kLetterCount = sizeof(kLetters) - 1;

char LetterOf(uint32_t server) { return server < kLetterCount ? kLetters[server] : '*'; }

// Position 0 is at the top, and it goes round clockwise.
std::string Circle(const HashRing& ring) {
  std::vector<std::string> rows(kRows, std::string(kColumns, ' '));
  const double radius_x = (kColumns - 1) / 2.0, radius_y = (kRows - 1) / 2.0;
  constexpr int kPieces = 88;
  for (int i = 0; i < kPieces; ++i) {
    const double angle = kTurn * (i + 0.5) / kPieces;
    const auto x = static_cast<size_t>(std::lround(radius_x + radius_x * std::sin(angle)));
    const auto y = static_cast<size_t>(std::lround(radius_y - radius_y * std::cos(angle)));
    rows[y][x] = LetterOf(ring.Find(static_cast<uint64_t>(i) * (~uint64_t{0} / kPieces)));
  }
  std::string text;
  for (const std::string& row : rows) {
    absl::StrAppend(&text, "  ", row.substr(0, row.find_last_not_of(' ') + 1), "\n");
  }
  return text;
}

std::string Bar(double share, double largest) {
  constexpr int kWidth = 30;
  const int cells = largest > 0 ? static_cast<int>(std::lround(share / largest * kWidth)) : 0;
  std::string bar;
  for (int i = 0; i < cells; ++i) bar += "█";
  return bar;
}

}  // namespace

std::string PoolText(const v1::Pool& pool, const HashRing& ring) {
  std::string text = absl::StrFormat(
      "pool %s, version %d, %d servers, %d points (%d for weight 1)\n", pool.name(), pool.version(),
      pool.servers_size(), ring.point_count(), pool.points_per_weight());
  if (ring.point_count() > 0) {
    text += Circle(ring);
  }
  const std::vector<double> shares = ring.Shares();
  const double largest = shares.empty() ? 0 : *std::max_element(shares.begin(), shares.end());
  for (uint32_t i = 0; i < shares.size(); ++i) {  // both are in the order of ids
    const v1::PoolServer& server = pool.servers(static_cast<int>(i));
    absl::StrAppendFormat(&text, "%c  %-32s weight %-6g %5.1f %%  %s%s\n",
                          server.points() == 0 ? ' ' : LetterOf(i), PrintableKey(server.id()),
                          server.weight(), shares[i] * 100, Bar(shares[i], largest),
                          server.draining() ? "draining" : "");
  }
  return text;
}

std::string PoolListText(const v1::ListPoolsResponse& pools) {
  std::string text;
  for (const v1::ListPoolsResponse::Entry& pool : pools.pools()) {
    absl::StrAppendFormat(&text, "%-24s version %-6d %d servers\n", pool.name(), pool.version(),
                          pool.server_count());
  }
  return text.empty() ? "no pools; 'ballast pool create NAME' makes one\n" : text;
}

}  // namespace ballast::client
