// SPDX-License-Identifier: Apache-2.0
#include "common/raft/raft_message.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/raft/wire_bytes.h"
#include "common/types/limits.h"

namespace ballast {
namespace {

enum Kind : uint8_t { kCore = 1, kConfirm = 2, kFetchRequest = 3, kFetchPage = 4 };

constexpr size_t kEntryBytesMin = 8 + 1 + 4;  // term, type, length of the payload

struct BodyWriter {
  std::string* out;

  void operator()(const CoreMessage& m) const {
    CHECK_EQ(m.entries.size(), size_t{m.core.entry_count});
    PutU8(out, kCore);
    PutU8(out, m.core.type);
    PutU8(out, m.core.version);
    PutU8(out, static_cast<uint8_t>((m.core.flag_a ? 1 : 0) | (m.core.flag_b ? 2 : 0)));
    PutU16(out, m.core.features);
    PutU16(out, m.core.capacity);
    PutU64(out, m.core.term);
    PutU64(out, m.core.log_index);
    PutU64(out, m.core.log_term);
    PutU64(out, m.core.extra);
    PutU32(out, m.core.entry_count);
    for (const LogEntry& entry : m.entries) {
      PutU64(out, entry.term);
      PutU8(out, static_cast<uint8_t>(entry.type));
      PutBytes(out, *entry.payload);
    }
  }
  void operator()(const ConfirmMessage&) const { PutU8(out, kConfirm); }
  void operator()(const FetchRequest& m) const {
    PutU8(out, kFetchRequest);
    PutU64(out, m.request);
    PutU64(out, m.snapshot.index);
    PutU64(out, m.snapshot.term);
    PutBytes(out, m.name);
    PutU64(out, m.offset);
  }
  void operator()(const FetchPage& m) const {
    PutU8(out, kFetchPage);
    PutU64(out, m.request);
    PutU8(out, m.gone ? 1 : 0);
    PutU64(out, m.file_bytes);
    PutBytes(out, m.data);
  }
};

absl::StatusOr<CoreMessage> DecodeCore(ByteReader& in) {
  CoreMessage m;
  m.core.type = in.U8();
  m.core.version = in.U8();
  const uint8_t flags = in.U8();
  m.core.flag_a = (flags & 1) != 0;
  m.core.flag_b = (flags & 2) != 0;
  m.core.features = in.U16();
  m.core.capacity = in.U16();
  m.core.term = in.U64();
  m.core.log_index = in.U64();
  m.core.log_term = in.U64();
  m.core.extra = in.U64();
  m.core.entry_count = in.U32();
  if (!in.ok() || flags > 3 || m.core.type < BALLAST_CRAFT_APPEND ||
      m.core.type > BALLAST_CRAFT_TIMEOUT_NOW) {
    return absl::DataLossError("consensus message of an unknown type");
  }
  if (m.core.entry_count > in.left() / kEntryBytesMin ||
      (m.core.entry_count > 0 && m.core.type != BALLAST_CRAFT_APPEND)) {
    return absl::DataLossError("consensus message with impossible entries");
  }
  m.entries.reserve(m.core.entry_count);
  for (uint32_t i = 0; i < m.core.entry_count; ++i) {
    LogEntry entry;
    entry.term = in.U64();
    const uint8_t type = in.U8();
    const absl::string_view payload = in.Bytes(kLogEntryBytesMax);
    if (!in.ok() || type < static_cast<uint8_t>(EntryType::kCommand) ||
        type > static_cast<uint8_t>(EntryType::kChange)) {
      return absl::DataLossError("consensus message with a malformed entry");
    }
    entry.type = static_cast<EntryType>(type);
    entry.payload = std::make_shared<const std::string>(payload);
    m.entries.push_back(std::move(entry));
  }
  return m;
}

}  // namespace

std::string EncodeRaftMessage(const RaftMessage& message) {
  std::string out;
  if (const auto* core = std::get_if<CoreMessage>(&message.body)) {
    size_t bytes = 96;
    for (const LogEntry& entry : core->entries) {
      bytes += kEntryBytesMin + entry.bytes();
    }
    out.reserve(bytes);
  }
  PutU8(&out, kRaftMessageVersion);
  for (const ReadContext& context : {message.asks, message.echoes}) {
    PutU64(&out, context.term);
    PutU64(&out, context.number);
  }
  std::visit(BodyWriter{&out}, message.body);
  return out;
}

absl::StatusOr<RaftMessage> DecodeRaftMessage(absl::string_view data) {
  ByteReader in(data);
  const uint8_t version = in.U8();
  if (version != kRaftMessageVersion) {
    return absl::DataLossError(absl::StrCat("consensus message of version ", version));
  }
  RaftMessage message;
  message.asks.term = in.U64();
  message.asks.number = in.U64();
  message.echoes.term = in.U64();
  message.echoes.number = in.U64();
  switch (in.U8()) {
    case kCore: {
      ASSIGN_OR_RETURN(message.body, DecodeCore(in));
      break;
    }
    case kConfirm:
      message.body = ConfirmMessage{};
      break;
    case kFetchRequest: {
      FetchRequest m;
      m.request = in.U64();
      m.snapshot.index = in.U64();
      m.snapshot.term = in.U64();
      m.name = std::string(in.Bytes(kImageNameBytesMax));
      m.offset = in.U64();
      message.body = std::move(m);
      break;
    }
    case kFetchPage: {
      FetchPage m;
      m.request = in.U64();
      const uint8_t gone = in.U8();
      m.file_bytes = in.U64();
      m.data = std::string(in.Bytes(kSnapshotPageBytesMax));
      if (gone > 1) {
        return absl::DataLossError("snapshot page with an unknown flag");
      }
      m.gone = gone == 1;
      message.body = std::move(m);
      break;
    }
    default:
      return absl::DataLossError("consensus message of an unknown kind");
  }
  if (!in.AtEnd()) {
    return absl::DataLossError("consensus message of a wrong length");
  }
  return message;
}

}  // namespace ballast
