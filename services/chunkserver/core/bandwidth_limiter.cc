// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/bandwidth_limiter.h"

#include <algorithm>

#include "common/types/limits.h"

namespace ballast::chunkserver {
namespace {

constexpr uint64_t kPieceBytesMax = KiB(512);
// A piece is at most this part of what passes in a second: 2.5 %.
constexpr uint64_t kPiecesPerSecondMin = 40;

}  // namespace

uint64_t BandwidthLimiter::PieceBytes() const {
  if (bytes_per_second_ == 0) {
    return kPieceBytesMax;
  }
  const uint64_t blocks = bytes_per_second_ / kPiecesPerSecondMin / kBlockBytes;
  return std::clamp<uint64_t>(blocks * kBlockBytes, kBlockBytes, kPieceBytesMax);
}

absl::Duration BandwidthLimiter::TimeFor(uint64_t bytes) const {
  return absl::Seconds(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
}

void BandwidthLimiter::SetRate(SteadyTime now, uint64_t bytes_per_second) {
  if (bytes_per_second == bytes_per_second_) {
    return;
  }
  if (bytes_per_second_ == 0) {
    paid_until_ = now;
  } else if (bytes_per_second != 0 && paid_until_ > now) {
    // What is granted and has not passed yet passes at the new rate.
    const double ratio =
        static_cast<double>(bytes_per_second_) / static_cast<double>(bytes_per_second);
    paid_until_ = now + (paid_until_ - now) * ratio;
  }
  bytes_per_second_ = bytes_per_second;
}

BandwidthLimiter::Ticket BandwidthLimiter::Ask(uint64_t bytes) {
  waiting_.push_back(Waiting{.ticket = next_ticket_, .bytes = bytes});
  return next_ticket_++;
}

void BandwidthLimiter::Cancel(Ticket ticket) {
  const auto it = std::find_if(waiting_.begin(), waiting_.end(),
                               [&](const Waiting& w) { return w.ticket == ticket; });
  if (it != waiting_.end()) {
    waiting_.erase(it);
  }
}

std::vector<BandwidthLimiter::Ticket> BandwidthLimiter::Release(SteadyTime now) {
  std::vector<Ticket> granted;
  while (!waiting_.empty() && (bytes_per_second_ == 0 || paid_until_ <= now)) {
    if (bytes_per_second_ != 0) {
      paid_until_ = std::max(paid_until_, now - kCatchUp) + TimeFor(waiting_.front().bytes);
    }
    granted.push_back(waiting_.front().ticket);
    waiting_.pop_front();
  }
  return granted;
}

std::optional<SteadyTime> BandwidthLimiter::NextDue() const {
  if (waiting_.empty()) {
    return std::nullopt;
  }
  return bytes_per_second_ == 0 ? SteadyTime() : paid_until_;
}

}  // namespace ballast::chunkserver
