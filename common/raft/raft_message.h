// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/raft/craft_shim.h"
#include "common/raft/log_cache.h"
#include "common/raft/snapshot_store.h"

// What the voters of a group say to each other, and its bytes. The envelope around them (cluster,
// group, sender, receiver, checksum) is the transport's. Pure.

namespace ballast {

inline constexpr uint8_t kRaftMessageVersion = 1;
inline constexpr size_t kSnapshotPageBytesMax = size_t{512} << 10;
// Payload bytes of one message of entries; the first entry goes in whatever its length.
inline constexpr size_t kAppendPayloadBytesMax = size_t{2} << 20;

// A read context: "at this moment I am leader of `term`", numbered. 0 = none. Confirmed when a
// majority has echoed it (or a later one) while its own term was that one.
struct ReadContext {
  uint64_t term = 0;
  uint64_t number = 0;
  friend auto operator<=>(const ReadContext&, const ReadContext&) = default;
};

// A message of the core. Of an APPEND, `core.entry_count` == entries.size().
struct CoreMessage {
  ballast_craft_message core = {};  // `peer` is the envelope's affair and not encoded
  std::vector<LogEntry> entries;
};

// Carries contexts or echoes when nothing else is due.
struct ConfirmMessage {};

// Asks for a part of a snapshot's file; an empty name means the manifest.
struct FetchRequest {
  uint64_t request = 0;  // comes back in the page
  SnapshotId snapshot;
  std::string name;
  uint64_t offset = 0;
};

struct FetchPage {
  uint64_t request = 0;
  bool gone = false;        // the snapshot does not exist (any more); then the rest is empty
  uint64_t file_bytes = 0;  // length of the whole file
  std::string data;         // at most kSnapshotPageBytesMax
};

struct RaftMessage {
  ReadContext asks;    // stamped by a leader
  ReadContext echoes;  // answered by the receiver of `asks`
  std::variant<CoreMessage, ConfirmMessage, FetchRequest, FetchPage> body;
};

std::string EncodeRaftMessage(const RaftMessage& message);

// Of hostile bytes: DATA_LOSS for anything that EncodeRaftMessage does not make. Takes memory in
// proportion to `data` only.
absl::StatusOr<RaftMessage> DecodeRaftMessage(absl::string_view data);

}  // namespace ballast
