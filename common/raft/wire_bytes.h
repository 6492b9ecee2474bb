// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

// Little-endian integers at the end of a string, and a bounds-checked reader of them: the only way
// in which this folder's formats touch bytes.

namespace ballast {

inline void PutU8(std::string* out, uint8_t v) { out->push_back(static_cast<char>(v)); }

inline void StoreU32(char* to, uint32_t v) {
  for (int i = 0; i < 4; ++i) {
    to[i] = static_cast<char>(v >> (8 * i));
  }
}

inline void PutU16(std::string* out, uint16_t v) {
  PutU8(out, static_cast<uint8_t>(v));
  PutU8(out, static_cast<uint8_t>(v >> 8));
}

inline void PutU32(std::string* out, uint32_t v) {
  char bytes[4];
  StoreU32(bytes, v);
  out->append(bytes, sizeof bytes);
}

inline void PutU64(std::string* out, uint64_t v) {
  PutU32(out, static_cast<uint32_t>(v));
  PutU32(out, static_cast<uint32_t>(v >> 32));
}

// Length (32 bits), then the bytes.
inline void PutBytes(std::string* out, absl::string_view bytes) {
  PutU32(out, static_cast<uint32_t>(bytes.size()));
  out->append(bytes.data(), bytes.size());
}

// Reads from the front of a view that it does not own. After the first read past the end ok() is
// false for ever and every read gives 0 or "".
class ByteReader {
 public:
  explicit ByteReader(absl::string_view data) : data_(data) {}

  bool ok() const { return ok_; }
  // All was read, and nothing past the end.
  bool AtEnd() const { return ok_ && data_.empty(); }
  size_t left() const { return data_.size(); }

  uint8_t U8() { return static_cast<uint8_t>(Unsigned(1)); }
  uint16_t U16() { return static_cast<uint16_t>(Unsigned(2)); }
  uint32_t U32() { return static_cast<uint32_t>(Unsigned(4)); }
  uint64_t U64() { return Unsigned(8); }

  absl::string_view Raw(size_t bytes) {
    if (!ok_ || bytes > data_.size()) {
      ok_ = false;
      data_ = {};
      return {};
    }
    const absl::string_view read = data_.substr(0, bytes);
    data_.remove_prefix(bytes);
    return read;
  }

  // Counterpart of PutBytes; longer than `bytes_max` counts as past the end.
  absl::string_view Bytes(size_t bytes_max) {
    const size_t bytes = U32();
    return Raw(bytes <= bytes_max ? bytes : data_.size() + 1);
  }

 private:
  uint64_t Unsigned(size_t bytes) {
    const absl::string_view raw = Raw(bytes);
    uint64_t v = 0;
    for (size_t i = raw.size(); i > 0; --i) {
      v = (v << 8) | static_cast<uint8_t>(raw[i - 1]);
    }
    return v;
  }

  absl::string_view data_;
  bool ok_ = true;
};

}  // namespace ballast
