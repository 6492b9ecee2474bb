// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/object_table.h"

#include <cstring>
#include <limits>
#include <new>

#include "common/base/check.h"

namespace ballast::master {

ObjectRecord::ObjectRecord(const ObjectFacts& facts) {
  CHECK_LE(facts.key.size(), std::numeric_limits<uint16_t>::max());
  if (facts.is_inline) CHECK_EQ(facts.inline_data.size(), facts.size_bytes);
  Header header{};
  header.generation = facts.generation.value();
  header.size_bytes = facts.size_bytes;
  header.modified_unix_ms = facts.modified_unix_ms;
  header.crc32c = facts.crc32c.value;
  header.run_count = facts.is_inline ? 0 : static_cast<uint32_t>(facts.chunks.size());
  header.key_bytes = static_cast<uint16_t>(facts.key.size());
  header.wanted_replicas = static_cast<uint8_t>(facts.wanted_replicas);
  header.is_inline = facts.is_inline;
  for (const auto& [name, value] : facts.metadata) {
    header.metadata_bytes +=
        static_cast<uint32_t>(2 * sizeof(uint32_t) + name.size() + value.size());
  }
  const size_t bytes = sizeof(Header) + header.run_count * sizeof(Run) + header.key_bytes +
                       (facts.is_inline ? facts.size_bytes : 0) + header.metadata_bytes;
  block_ = new char[bytes];
  new (block_) Header(header);
  char* out = block_ + sizeof(Header);
  for (uint32_t i = 0; i < header.run_count; ++i) {
    new (out) Run(facts.chunks[i]);
    out += sizeof(Run);
  }
  const auto append = [&out](absl::string_view text) {
    if (!text.empty()) std::memcpy(out, text.data(), text.size());
    out += text.size();
  };
  append(facts.key);
  if (facts.is_inline) append(facts.inline_data);
  for (const auto& [name, value] : facts.metadata) {
    for (const std::string* text : {&name, &value}) {
      const auto length = static_cast<uint32_t>(text->size());
      append({reinterpret_cast<const char*>(&length), sizeof(length)});
      append(*text);
    }
  }
}

absl::string_view ObjectRecord::key() const { return {block_ + KeyOffset(), header().key_bytes}; }

absl::string_view ObjectRecord::inline_data() const {
  return {block_ + KeyOffset() + header().key_bytes, InlineBytes()};
}

absl::Span<const Run> ObjectRecord::chunks() const {
  return {reinterpret_cast<const Run*>(block_ + sizeof(Header)), header().run_count};
}

MetadataList ObjectRecord::metadata() const {
  MetadataList list;
  const char* at = block_ + KeyOffset() + header().key_bytes + InlineBytes();
  const char* const end = at + header().metadata_bytes;
  const auto take = [&at] {
    uint32_t length;
    std::memcpy(&length, at, sizeof(length));
    std::string text(at + sizeof(length), length);
    at += sizeof(length) + length;
    return text;
  };
  while (at < end) {
    std::string name = take();
    list.emplace_back(std::move(name), take());
  }
  return list;
}

const ObjectRecord* ObjectTable::Find(absl::string_view key) const {
  const auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : &*it;
}

void ObjectTable::Put(ObjectRecord record) {
  const auto it = objects_.find(record.key());
  if (it != objects_.end()) objects_.erase(it);
  objects_.insert(std::move(record));
}

bool ObjectTable::Erase(absl::string_view key) {
  const auto it = objects_.find(key);
  if (it == objects_.end()) return false;
  objects_.erase(it);
  return true;
}

bool ObjectTable::SetWanted(absl::string_view key, uint32_t wanted_replicas) {
  const auto it = objects_.find(key);
  if (it == objects_.end()) return false;
  CHECK(!it->is_inline());
  // The order is by key, so what else a record says may change in its place.
  reinterpret_cast<ObjectRecord::Header*>(it->block_)->wanted_replicas =
      static_cast<uint8_t>(wanted_replicas);
  return true;
}

ObjectTable::Set::const_iterator ObjectTable::Start(absl::string_view prefix,
                                                    absl::string_view after) const {
  if (after.empty() || after < prefix) return objects_.lower_bound(prefix);
  return objects_.upper_bound(after);
}

}  // namespace ballast::master
