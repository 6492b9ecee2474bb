// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/crc32c.h"
#include "common/types/ids.h"
#include "services/master/core/runs.h"

namespace ballast::master {

using MetadataList = std::vector<std::pair<std::string, std::string>>;  // name, value; as given

// All facts of one generation of an object, as a plain value.
struct ObjectFacts {
  std::string key;
  Generation generation;
  uint64_t size_bytes = 0;
  Crc32c crc32c;
  uint64_t modified_unix_ms = 0;
  bool is_inline = false;
  std::string inline_data;       // inline: size_bytes of them
  uint32_t wanted_replicas = 0;  // chunked: 1..5
  Runs chunks;                   // chunked: in object order; none if size_bytes is 0
  MetadataList metadata;
};

// One generation of an object: immutable but for the replicas wanted, packed into a single block of
// memory (some 50 bytes beside key and value), since a shard may hold millions.
class ObjectRecord {
 public:
  explicit ObjectRecord(const ObjectFacts& facts);
  ~ObjectRecord() { delete[] block_; }
  ObjectRecord(ObjectRecord&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  ObjectRecord& operator=(ObjectRecord&& other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }

  // Views live as long as the record.
  absl::string_view key() const;
  Generation generation() const { return Generation(header().generation); }
  uint64_t size_bytes() const { return header().size_bytes; }
  Crc32c crc32c() const { return Crc32c{header().crc32c}; }
  uint64_t modified_unix_ms() const { return header().modified_unix_ms; }
  bool is_inline() const { return header().is_inline; }
  uint32_t wanted_replicas() const { return header().wanted_replicas; }
  absl::string_view inline_data() const;
  absl::Span<const Run> chunks() const;
  uint64_t chunk_count() const { return CountOf(chunks()); }
  MetadataList metadata() const;

  size_t memory_bytes() const { return sizeof(*this) + BlockBytes(); }

 private:
  friend class ObjectTable;
  // The block: Header, runs, key, inline data, then (u32 length, bytes) twice for each metadata
  // entry.
  struct Header {
    uint64_t generation;
    uint64_t size_bytes;
    uint64_t modified_unix_ms;
    uint32_t crc32c;
    uint32_t run_count;
    uint32_t metadata_bytes;
    uint16_t key_bytes;
    uint8_t wanted_replicas;
    bool is_inline;
  };
  const Header& header() const { return *reinterpret_cast<const Header*>(block_); }
  size_t InlineBytes() const { return is_inline() ? size_bytes() : 0; }
  size_t KeyOffset() const { return sizeof(Header) + header().run_count * sizeof(Run); }
  size_t BlockBytes() const {
    return KeyOffset() + header().key_bytes + InlineBytes() + header().metadata_bytes;
  }

  char* block_;
};

// The objects of one shard, ordered by key bytes.
//
// Concurrency: none. Pointers to records stay valid until the next change of the table.
class ObjectTable {
 public:
  size_t size() const { return objects_.size(); }

  // Null if there is no such object.
  const ObjectRecord* Find(absl::string_view key) const;

  // Inserts, or replaces the object of the same key.
  void Put(ObjectRecord record);

  // Removes; false if there was none.
  bool Erase(absl::string_view key);

  // Changes the replicas wanted of an object that is not inline; false if there is no such object.
  bool SetWanted(absl::string_view key, uint32_t wanted_replicas);

  // fn(const ObjectRecord&) -> bool, in key order, for keys > `after` that start with `prefix`,
  // until fn returns false.
  template <typename Fn>
  void Scan(absl::string_view prefix, absl::string_view after, Fn&& fn) const {
    for (auto it = Start(prefix, after); it != objects_.end(); ++it) {
      if (it->key().substr(0, prefix.size()) != prefix || !fn(*it)) return;
    }
  }

  struct KeyOrder {
    using is_transparent = void;
    bool operator()(const ObjectRecord& a, const ObjectRecord& b) const {
      return a.key() < b.key();
    }
    bool operator()(const ObjectRecord& a, absl::string_view b) const { return a.key() < b; }
    bool operator()(absl::string_view a, const ObjectRecord& b) const { return a < b.key(); }
  };
  using Set = absl::btree_set<ObjectRecord, KeyOrder>;
  // For merging several tables: a position, and the end.
  Set::const_iterator Start(absl::string_view prefix, absl::string_view after) const;
  Set::const_iterator End() const { return objects_.end(); }

 private:
  Set objects_;
};

}  // namespace ballast::master
