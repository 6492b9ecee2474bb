// SPDX-License-Identifier: Apache-2.0
#include "common/raft/wal_format.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/raft/wire_bytes.h"

namespace ballast {
namespace {

constexpr absl::string_view kMagic = "BLSTWAL1";
constexpr size_t kAlignment = 8;

enum Kind : uint8_t { kHard = 1, kEntries = 2, kReset = 3, kTrim = 4, kBase = 5 };

struct BodyWriter {
  std::string* out;

  uint8_t operator()(const WalHard& r) const {
    PutU64(out, r.term);
    PutU64(out, r.vote);
    return kHard;
  }
  uint8_t operator()(const WalEntries& r) const {
    PutU64(out, r.first);
    PutU32(out, static_cast<uint32_t>(r.entries.size()));
    for (const LogEntry& entry : r.entries) {
      PutU64(out, entry.term);
      PutU8(out, static_cast<uint8_t>(entry.type));
      PutBytes(out, *entry.payload);
    }
    return kEntries;
  }
  uint8_t operator()(const WalReset& r) const {
    PutU64(out, r.index);
    PutU64(out, r.term);
    return kReset;
  }
  uint8_t operator()(const WalTrim& r) const {
    PutU64(out, r.index);
    PutU64(out, r.term);
    return kTrim;
  }
  uint8_t operator()(const WalBase& r) const {
    PutU64(out, r.term);
    PutU64(out, r.vote);
    PutU64(out, r.trim_index);
    PutU64(out, r.trim_term);
    PutU64(out, r.last);
    return kBase;
  }
};

// Covers the salt, everything of the frame behind the checksum, and the body.
uint32_t FrameChecksum(const WalHeader& header, absl::string_view frame_and_body) {
  std::string salt;
  PutU64(&salt, header.salt);
  PutU32(&salt, header.group);
  return ExtendCrc32c(ComputeCrc32c(salt), frame_and_body.substr(4)).value;
}

size_t Padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

absl::StatusOr<WalRecord> DecodeEntries(ByteReader& in) {
  WalEntries record;
  record.first = in.U64();
  const uint32_t count = in.U32();
  // Every entry takes 13 bytes at least: a count beyond that is a lie, and not worth memory.
  if (!in.ok() || record.first == 0 || count == 0 || count > in.left() / 13) {
    return absl::DataLossError("entry record of an impossible length");
  }
  record.entries.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    LogEntry entry;
    entry.term = in.U64();
    const uint8_t type = in.U8();
    const absl::string_view payload = in.Bytes(in.left());
    if (!in.ok() || entry.term == 0 || type < static_cast<uint8_t>(EntryType::kCommand) ||
        type > static_cast<uint8_t>(EntryType::kChange)) {
      return absl::DataLossError("entry of an unknown type or without a term");
    }
    entry.type = static_cast<EntryType>(type);
    entry.payload = std::make_shared<const std::string>(payload);
    record.entries.push_back(std::move(entry));
  }
  return record;
}

}  // namespace

std::string EncodeWalHeader(const WalHeader& header) {
  CHECK(!header.cluster_id.empty() && header.cluster_id.size() <= kClusterIdBytesMax);
  std::string out(kMagic);
  PutU32(&out, kWalVersion);
  PutU32(&out, header.group);
  PutU64(&out, header.segment);
  PutU64(&out, header.first_lsn);
  out += header.cluster_id;
  out.append(kClusterIdBytesMax - header.cluster_id.size(), '\0');
  PutU64(&out, header.salt);
  PutU32(&out, ComputeCrc32c(out).value);
  CHECK_EQ(out.size(), kWalHeaderBytes);
  return out;
}

absl::StatusOr<WalHeader> DecodeWalHeader(absl::string_view data) {
  if (data.size() < kWalHeaderBytes || data.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError("not a segment of a write-ahead log");
  }
  data = data.substr(0, kWalHeaderBytes);
  ByteReader in(data.substr(kMagic.size()));
  WalHeader header;
  const uint32_t version = in.U32();
  header.group = in.U32();
  header.segment = in.U64();
  header.first_lsn = in.U64();
  const absl::string_view id = in.Raw(kClusterIdBytesMax);
  header.salt = in.U64();
  const uint32_t checksum = in.U32();
  CHECK(in.AtEnd());
  if (ComputeCrc32c(data.substr(0, kWalHeaderBytes - 4)).value != checksum) {
    return absl::DataLossError("segment header does not fit its checksum");
  }
  if (version != kWalVersion) {
    return absl::DataLossError(absl::StrCat("write-ahead log of version ", version,
                                            "; this program knows version ", kWalVersion));
  }
  header.cluster_id = std::string(id.substr(0, id.find('\0')));
  if (header.cluster_id.empty() || header.segment == 0 || header.first_lsn == 0) {
    return absl::DataLossError("segment header without id, number or position");
  }
  return header;
}

void AppendWalRecord(const WalHeader& header, WalPosition position, const WalRecord& record,
                     std::string* out) {
  const size_t begin = out->size();
  PutU32(out, 0);  // checksum and length: known below
  PutU32(out, 0);
  PutU64(out, position.lsn);
  PutU64(out, position.batch);
  const size_t kind_at = out->size();
  PutU64(out, 0);
  const uint8_t kind = std::visit(BodyWriter{out}, record);
  (*out)[kind_at] = static_cast<char>(kind);
  const size_t body_bytes = out->size() - begin - kWalFrameBytes;
  CHECK_LE(body_bytes, size_t{UINT32_MAX});
  StoreU32(&(*out)[begin + 4], static_cast<uint32_t>(body_bytes));
  const absl::string_view written = absl::string_view(*out).substr(begin);
  StoreU32(&(*out)[begin], FrameChecksum(header, written));
  out->append(Padded(body_bytes) - body_bytes, '\0');
}

absl::StatusOr<WalFrame> DecodeWalFrame(const WalHeader& header, absl::string_view data) {
  const absl::Status none = absl::NotFoundError("no record");
  if (data.size() < kWalFrameBytes) {
    return none;
  }
  ByteReader in(data);
  WalFrame frame;
  const uint32_t checksum = in.U32();
  const uint32_t body_bytes = in.U32();
  frame.position.lsn = in.U64();
  frame.position.batch = in.U64();
  frame.kind = in.U8();
  if (frame.position.lsn == 0 || body_bytes > data.size() - kWalFrameBytes) {
    return none;
  }
  const absl::string_view whole = data.substr(0, kWalFrameBytes + body_bytes);
  if (FrameChecksum(header, whole) != checksum) {
    return none;
  }
  frame.body = whole.substr(kWalFrameBytes);
  // The padding of the last record of a file may be cut off.
  frame.bytes = std::min(data.size(), kWalFrameBytes + Padded(body_bytes));
  return frame;
}

absl::StatusOr<WalRecord> DecodeWalRecord(const WalFrame& frame) {
  ByteReader in(frame.body);
  WalRecord record;
  switch (frame.kind) {
    case kHard: {
      const uint64_t term = in.U64();
      record = WalHard{.term = term, .vote = in.U64()};
      break;
    }
    case kEntries: {
      absl::StatusOr<WalRecord> entries = DecodeEntries(in);
      if (!entries.ok()) {
        return entries.status();
      }
      record = *std::move(entries);
      break;
    }
    case kReset: {
      const uint64_t index = in.U64();
      record = WalReset{.index = index, .term = in.U64()};
      break;
    }
    case kTrim: {
      const uint64_t index = in.U64();
      record = WalTrim{.index = index, .term = in.U64()};
      break;
    }
    case kBase: {
      WalBase base;
      base.term = in.U64();
      base.vote = in.U64();
      base.trim_index = in.U64();
      base.trim_term = in.U64();
      base.last = in.U64();
      record = base;
      break;
    }
    default:
      return absl::DataLossError(absl::StrCat("record of unknown kind ", frame.kind));
  }
  if (!in.AtEnd()) {
    return absl::DataLossError(absl::StrCat("record of kind ", frame.kind, " of a wrong length"));
  }
  return record;
}

bool HasLaterBatch(const WalHeader& header, uint64_t lsn, absl::string_view data) {
  for (size_t at = 0; at + kWalFrameBytes <= data.size(); at += kAlignment) {
    ByteReader in(data.substr(at + 8, 16));
    const uint64_t found = in.U64();
    const uint64_t batch = in.U64();
    // A write cannot hold more records than fit the segment; this spares most checksums.
    if (batch <= lsn || found < batch || found - lsn > data.size() / kWalFrameBytes + 1) {
      continue;
    }
    if (DecodeWalFrame(header, data.substr(at)).ok()) {
      return true;
    }
  }
  return false;
}

}  // namespace ballast
