// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/scrub_schedule.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/types/limits.h"

namespace ballast::chunkserver {
namespace {

constexpr absl::string_view kMagic = "BLSTSCR1";
// However late it is, the rate is reckoned as if there were this much time.
constexpr double kTimeLeftMinS = 60;
constexpr double kTarget = 0.75;
constexpr double kUrgent = 0.9;
// How much faster than the average what is late is made good.
constexpr double kCatchUpMost = 4;
// What a disk reads in the time of a seek.
constexpr uint64_t kCostMin = KiB(256);

constexpr size_t kFixedBytes = 8 + 4 * (1 + kScrubBuckets + 1);
constexpr size_t kHandleBytes = 8;

void Append(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
  }
}

// Requires that so many bytes are left.
uint64_t Take(absl::string_view& in, int bytes) {
  uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; --i) {
    value = value << 8 | static_cast<unsigned char>(in[static_cast<size_t>(i)]);
  }
  in.remove_prefix(static_cast<size_t>(bytes));
  return value;
}

}  // namespace

uint64_t ScrubCost(uint64_t length_bytes) { return std::max(length_bytes, kCostMin); }

std::string ScrubNote::Encode() const {
  std::string out(kMagic);
  Append(out, clock_s, 4);
  for (const uint32_t oldest : oldest_s) {
    Append(out, oldest, 4);
  }
  Append(out, corrupt.size(), 4);
  for (const ChunkHandle handle : corrupt) {
    Append(out, handle.value(), kHandleBytes);
  }
  Append(out, ComputeCrc32c(out).value, 4);
  return out;
}

absl::StatusOr<ScrubNote> ScrubNote::Decode(absl::string_view bytes) {
  const auto damaged = [](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("scrub note: ", what));
  };
  if (bytes.size() < kFixedBytes + 4 || !absl::StartsWith(bytes, kMagic)) {
    return damaged("it does not look like one");
  }
  absl::string_view tail = bytes.substr(bytes.size() - 4);
  if (Take(tail, 4) != ComputeCrc32c(bytes.substr(0, bytes.size() - 4)).value) {
    return damaged("its checksum does not fit");
  }
  ScrubNote note;
  absl::string_view in = bytes.substr(kMagic.size(), bytes.size() - kMagic.size() - 4);
  note.clock_s = static_cast<uint32_t>(Take(in, 4));
  for (uint32_t& oldest : note.oldest_s) {
    oldest = static_cast<uint32_t>(Take(in, 4));
    if (oldest > note.clock_s) {
      return damaged("a time is beyond the clock");
    }
  }
  const uint64_t count = Take(in, 4);
  if (count > kCorruptMax || in.size() != count * kHandleBytes) {
    return damaged("its length does not fit its count");
  }
  while (!in.empty()) {
    const ChunkHandle handle(Take(in, kHandleBytes));
    if (!note.corrupt.empty() && !(note.corrupt.back() < handle)) {
      return damaged("its chunks are out of order");
    }
    note.corrupt.push_back(handle);
  }
  return note;
}

uint64_t ScrubPlan::Rate(double foreground_factor) const {
  const uint64_t rate =
      std::clamp(wanted_rate, ScrubPlanner::kRateFloor, ScrubPlanner::kRateCeiling);
  const double factor = urgent ? 1 : std::clamp(foreground_factor, 0.01, 1.0);
  return std::max<uint64_t>(static_cast<uint64_t>(static_cast<double>(rate) * factor), 1);
}

ScrubPlanner::ScrubPlanner(const ScrubNote& at_start, uint32_t now_s, absl::Duration period)
    : at_start_(at_start),
      now_s_(now_s),
      period_s_(static_cast<uint32_t>(absl::ToInt64Seconds(period))) {
  CHECK_GE(period_s_, 3600u);
  plan_.oldest_s = now_s;
  plan_.note.clock_s = now_s;
  plan_.note.oldest_s.fill(now_s);
}

void ScrubPlanner::Add(const ScrubCandidate& chunk) {
  const size_t number = chunk.handle.value() % kScrubBuckets;
  Bucket& bucket = buckets_[number];
  const uint32_t last =
      std::min(chunk.verified ? chunk.verified_s : at_start_.oldest_s[number], now_s_);
  ++plan_.chunks;
  plan_.bytes += chunk.bytes;
  plan_.oldest_s = std::min(plan_.oldest_s, last);
  plan_.note.oldest_s[number] = std::min(plan_.note.oldest_s[number], last);
  bucket.bytes += chunk.bytes;
  bucket.unverified = bucket.unverified || !chunk.verified;
  const bool young = chunk.verified && now_s_ - last < period_s_ / 8;
  if (!chunk.verified &&
      std::binary_search(at_start_.corrupt.begin(), at_start_.corrupt.end(), chunk.handle)) {
    Note(chunk.handle);  // until it is known anew
    first_.push_back(ScrubPlan::Item{.handle = chunk.handle, .bytes = chunk.bytes});
  } else if (!young && bucket.items.size() < kBatchMax) {
    bucket.items.push_back(ScrubPlan::Item{.handle = chunk.handle, .bytes = chunk.bytes});
  }
}

void ScrubPlanner::AddCorrupt(ChunkHandle handle) { Note(handle); }

void ScrubPlanner::Note(ChunkHandle corrupt) {
  if (plan_.note.corrupt.size() < ScrubNote::kCorruptMax) {
    plan_.note.corrupt.push_back(corrupt);
  }
}

ScrubPlan ScrubPlanner::Finish() {
  std::vector<size_t> order(kScrubBuckets);
  std::iota(order.begin(), order.end(), size_t{0});
  const std::array<uint32_t, kScrubBuckets>& oldest_s = plan_.note.oldest_s;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return oldest_s[a] < oldest_s[b]; });
  double before = 0;
  double wanted = 0;
  for (const size_t number : order) {
    before += static_cast<double>(buckets_[number].bytes);
    const double deadline_s = oldest_s[number] + kTarget * period_s_;
    wanted = std::max(wanted, before / std::max(deadline_s - now_s_, kTimeLeftMinS));
  }
  const double average = static_cast<double>(plan_.bytes) / (kTarget * period_s_);
  plan_.wanted_rate = static_cast<uint64_t>(std::min(wanted, kCatchUpMost * average));
  const uint32_t age_s = now_s_ - plan_.oldest_s;
  plan_.urgent = age_s > static_cast<uint32_t>(kUrgent * period_s_);
  plan_.behind = age_s > period_s_ || plan_.wanted_rate > kRateCeiling;
  plan_.batch = std::move(first_);
  for (const size_t number : order) {
    const Bucket& bucket = buckets_[number];
    const bool due = bucket.unverified || now_s_ - oldest_s[number] >= period_s_ / 2 ||
                     plan_.wanted_rate > kRateFloor;
    for (const ScrubPlan::Item& item : bucket.items) {
      if (due && plan_.batch.size() < kBatchMax) {
        plan_.batch.push_back(item);
      }
    }
  }
  return std::move(plan_);
}

}  // namespace ballast::chunkserver
