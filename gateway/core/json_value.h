// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ballast::gateway {

struct JsonMember;

// One JSON value as a tree. A plain value.
//
// Numbers: a whole one within 64 bits (or written as a decimal, within 2^53) is an integer, so 1,
// 1.0 and 1e0 are the same; others are kept as text, shortest form up to 15 digits, as written
// beyond, so that nothing is lost.
struct JsonValue {
  struct Decimal {
    std::string text;
  };
  using Array = std::vector<JsonValue>;
  using Object = std::vector<JsonMember>;  // as written; no name twice

  std::variant<std::monostate, bool, int64_t, uint64_t, Decimal, std::string, Array, Object> value;

  // Null unless it is one.
  const std::string* AsString() const { return std::get_if<std::string>(&value); }
  std::string* AsString() { return std::get_if<std::string>(&value); }
  const Array* AsArray() const { return std::get_if<Array>(&value); }
  Array* AsArray() { return std::get_if<Array>(&value); }
  const Object* AsObject() const { return std::get_if<Object>(&value); }
  Object* AsObject() { return std::get_if<Object>(&value); }

  bool IsInteger() const {
    return std::holds_alternative<int64_t>(value) || std::holds_alternative<uint64_t>(value);
  }
  std::optional<uint64_t> AsUint64() const;  // an integer >= 0
  std::optional<double> AsDouble() const;    // any number; always finite

  // The member of this name if it is an object that has one.
  const JsonValue* Find(absl::string_view name) const;
  JsonValue* Find(absl::string_view name);
};

struct JsonMember {
  std::string name;
  JsonValue value;
};

struct JsonLimits {
  size_t depth_max = 64;
  size_t values_max = 1 << 19;  // values in the tree: its memory is about 40 bytes each, and text
};

// Parses one whole value, whitespace around it allowed. INVALID_ARGUMENT with a short text: no
// JSON, no UTF-8, a lone surrogate, a number beyond a double's range, a name twice in one object,
// or beyond the limits.
absl::StatusOr<JsonValue> ParseJson(absl::string_view text, const JsonLimits& limits = {});

// The value in one line without spaces, members ordered by name: equal values, equal text.
std::string CompactText(const JsonValue& value);

// Appends `text` as a JSON string. `text` must be UTF-8.
void AppendJsonString(absl::string_view text, std::string* out);

// Whether `text` is UTF-8 in shortest form without surrogates.
bool IsUtf8(absl::string_view text);

// At most `bytes_max` bytes of `text` for a message to people, cut between characters.
std::string Excerpt(absl::string_view text, size_t bytes_max);

}  // namespace ballast::gateway
