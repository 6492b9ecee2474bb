// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/fence_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/types/limits.h"

namespace ballast::chunkserver {
namespace {

constexpr absl::string_view kMagic = "BLSTFNC1";
constexpr size_t kEntryBytes = 4 + 8 + 8;

void Append(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    out.push_back(static_cast<char>(value >> (8 * i)));
  }
}

uint64_t Take(absl::string_view& in, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) {
    value |= uint64_t{static_cast<unsigned char>(in[static_cast<size_t>(i)])} << (8 * i);
  }
  in.remove_prefix(static_cast<size_t>(bytes));
  return value;
}

}  // namespace

bool FenceTable::Admit(ShardId shard, FencePair pair) {
  FencePair& highest = highest_[shard];
  if (pair < highest) {
    return false;
  }
  if (highest < pair) {
    highest = pair;
    ++version_;
  }
  return true;
}

FencePair FenceTable::Highest(ShardId shard) const {
  const auto it = highest_.find(shard);
  return it == highest_.end() ? FencePair{} : it->second;
}

std::string FenceTable::Encode() const {
  std::string out(kMagic);
  Append(out, highest_.size(), 4);
  for (const auto& [shard, pair] : highest_) {
    Append(out, shard.value(), 4);
    Append(out, pair.config_version.value(), 8);
    Append(out, pair.term.value(), 8);
  }
  Append(out, ComputeCrc32c(out).value, 4);
  return out;
}

absl::StatusOr<FenceTable> FenceTable::Decode(absl::string_view bytes) {
  const auto damaged = [](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("fence file: ", what));
  };
  if (bytes.size() < kMagic.size() + 8 || bytes.substr(0, kMagic.size()) != kMagic) {
    return damaged("it does not begin like one");
  }
  absl::string_view tail = bytes.substr(bytes.size() - 4);
  if (Take(tail, 4) != ComputeCrc32c(bytes.substr(0, bytes.size() - 4)).value) {
    return damaged("its checksum does not fit");
  }
  absl::string_view in = bytes.substr(kMagic.size(), bytes.size() - kMagic.size() - 4);
  const uint64_t count = Take(in, 4);
  if (count > kShardsMax || in.size() != count * kEntryBytes) {
    return damaged("its length does not fit its count");
  }
  FenceTable table;
  for (uint64_t i = 0; i < count; ++i) {
    const ShardId shard(static_cast<uint32_t>(Take(in, 4)));
    const ConfigVersion config(Take(in, 8));
    const RaftTerm term(Take(in, 8));
    if (shard.value() >= kShardsMax ||
        !table.highest_.emplace(shard, FencePair{config, term}).second) {
      return damaged("a shard is out of range or named twice");
    }
  }
  return table;
}

}  // namespace ballast::chunkserver
