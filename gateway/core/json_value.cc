// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/json_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ballast::gateway {
namespace {

// The shortest decimal that any double of so many digits survives.
constexpr size_t kExactDigits = 15;
constexpr double kWholeMax = 9007199254740992.0;  // 2^53

size_t SignificantDigits(absl::string_view token) {
  token = token.substr(0, token.find_first_of("eE"));
  size_t digits = 0;
  for (const char c : token) {
    digits += c >= '0' && c <= '9' && (digits > 0 || c != '0') ? 1 : 0;
  }
  return digits;
}

JsonValue Number(double number, absl::string_view token) {
  if (std::trunc(number) == number && std::abs(number) <= kWholeMax) {
    return {static_cast<int64_t>(number)};
  }
  if (SignificantDigits(token) > kExactDigits) {
    return {JsonValue::Decimal{std::string(token)}};
  }
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), number);
  return {JsonValue::Decimal{std::string(text, end.ptr)}};
}

// Builds the tree from nlohmann's events, within the limits. The events stop at the first `false`.
class TreeBuilder {
 public:
  explicit TreeBuilder(const JsonLimits& limits) : limits_(limits) {}

  JsonValue TakeRoot() { return std::move(root_); }
  const std::string& problem() const { return problem_; }

  // --- what nlohmann calls -----------------------------------------------------------------------
  bool null() { return Add({}); }
  bool boolean(bool value) { return Add({value}); }
  bool number_integer(int64_t value) { return Add({value}); }
  bool number_unsigned(uint64_t value) {
    return value <= INT64_MAX ? Add({static_cast<int64_t>(value)}) : Add({value});
  }
  bool number_float(double value, const std::string& token) { return Add(Number(value, token)); }
  bool string(std::string& value) { return Add({std::move(value)}); }
  bool binary(nlohmann::json::binary_t& /*value*/) { return Fail("binary data"); }
  bool start_object(size_t /*size*/) { return Enter({JsonValue::Object()}); }
  bool start_array(size_t /*size*/) { return Enter({JsonValue::Array()}); }
  bool key(std::string& name) {
    open_.back()->AsObject()->push_back({std::move(name), {}});
    return true;
  }
  bool end_object() {
    const bool unique = NamesAreUnique(*open_.back()->AsObject());
    open_.pop_back();
    return unique;
  }
  bool end_array() {
    open_.pop_back();
    return true;
  }
  template <typename Error>
  bool parse_error(size_t /*position*/, const std::string& /*token*/, const Error& error) {
    constexpr int kOutOfRange = 406;
    return Fail(error.id == kOutOfRange ? "a number is beyond the range of a double"
                                        : "no JSON, or text that is not Unicode");
  }

 private:
  bool Fail(absl::string_view problem) {
    problem_ = std::string(problem);
    return false;
  }

  // Puts the value where it belongs; null when there are too many. The pointer stays good until
  // the next value is put beside it, which is after it was left.
  JsonValue* Put(JsonValue value) {
    if (++values_ > limits_.values_max) {
      Fail(absl::StrCat("more than ", limits_.values_max, " values in one message"));
      return nullptr;
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (JsonValue::Array* array = open_.back()->AsArray(); array != nullptr) {
      array->push_back(std::move(value));
      return &array->back();
    }
    JsonValue& member = open_.back()->AsObject()->back().value;
    member = std::move(value);
    return &member;
  }
  bool Add(JsonValue value) { return Put(std::move(value)) != nullptr; }
  bool Enter(JsonValue container) {
    if (open_.size() >= limits_.depth_max) {
      return Fail(absl::StrCat("nested deeper than ", limits_.depth_max));
    }
    open_.push_back(Put(std::move(container)));
    return open_.back() != nullptr;
  }

  bool NamesAreUnique(const JsonValue::Object& object) {
    std::vector<absl::string_view> names;
    names.reserve(object.size());
    for (const JsonMember& member : object) {
      names.push_back(member.name);
    }
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    return twice == names.end() ||
           Fail(absl::StrCat("the name '", Excerpt(*twice, 100), "' stands twice in one object"));
  }

  const JsonLimits limits_;
  JsonValue root_;
  std::vector<JsonValue*> open_;
  size_t values_ = 0;
  std::string problem_;
};

void AppendCompact(const JsonValue& value, std::string* out);

void AppendMembers(const JsonValue::Object& object, std::string* out) {
  std::vector<const JsonMember*> members;
  members.reserve(object.size());
  for (const JsonMember& member : object) {
    members.push_back(&member);
  }
  std::sort(members.begin(), members.end(),
            [](const JsonMember* a, const JsonMember* b) { return a->name < b->name; });
  out->push_back('{');
  for (const JsonMember* member : members) {
    if (member != members.front()) {
      out->push_back(',');
    }
    AppendJsonString(member->name, out);
    out->push_back(':');
    AppendCompact(member->value, out);
  }
  out->push_back('}');
}

// As deep as the value is nested: bounded by the limits of its parsing.
void AppendCompact(const JsonValue& value, std::string* out) {
  if (const auto* text = value.AsString(); text != nullptr) {
    AppendJsonString(*text, out);
  } else if (const auto* array = value.AsArray(); array != nullptr) {
    out->push_back('[');
    for (const JsonValue& item : *array) {
      if (&item != array->data()) {
        out->push_back(',');
      }
      AppendCompact(item, out);
    }
    out->push_back(']');
  } else if (const auto* object = value.AsObject(); object != nullptr) {
    AppendMembers(*object, out);
  } else if (const auto* integer = std::get_if<int64_t>(&value.value); integer != nullptr) {
    absl::StrAppend(out, *integer);
  } else if (const auto* large = std::get_if<uint64_t>(&value.value); large != nullptr) {
    absl::StrAppend(out, *large);
  } else if (const auto* decimal = std::get_if<JsonValue::Decimal>(&value.value);
             decimal != nullptr) {
    out->append(decimal->text);
  } else if (const bool* truth = std::get_if<bool>(&value.value); truth != nullptr) {
    out->append(*truth ? "true" : "false");
  } else {
    out->append("null");
  }
}

}  // namespace

std::optional<uint64_t> JsonValue::AsUint64() const {
  if (const auto* large = std::get_if<uint64_t>(&value); large != nullptr) {
    return *large;
  }
  const auto* integer = std::get_if<int64_t>(&value);
  if (integer == nullptr || *integer < 0) {
    return std::nullopt;
  }
  return static_cast<uint64_t>(*integer);
}

std::optional<double> JsonValue::AsDouble() const {
  if (const auto* decimal = std::get_if<Decimal>(&value); decimal != nullptr) {
    double number = 0;
    return absl::SimpleAtod(decimal->text, &number) ? std::optional(number) : std::nullopt;
  }
  if (const auto* integer = std::get_if<int64_t>(&value); integer != nullptr) {
    return static_cast<double>(*integer);
  }
  const auto* large = std::get_if<uint64_t>(&value);
  return large != nullptr ? std::optional(static_cast<double>(*large)) : std::nullopt;
}

const JsonValue* JsonValue::Find(absl::string_view name) const {
  if (const Object* object = AsObject(); object != nullptr) {
    for (const JsonMember& member : *object) {
      if (member.name == name) {
        return &member.value;
      }
    }
  }
  return nullptr;
}

JsonValue* JsonValue::Find(absl::string_view name) {
  return const_cast<JsonValue*>(std::as_const(*this).Find(name));
}

absl::StatusOr<JsonValue> ParseJson(absl::string_view text, const JsonLimits& limits) {
  TreeBuilder builder(limits);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    return absl::InvalidArgumentError(builder.problem());
  }
  return builder.TakeRoot();
}

std::string CompactText(const JsonValue& value) {
  std::string out;
  AppendCompact(value, &out);
  return out;
}

void AppendJsonString(absl::string_view text, std::string* out) {
  constexpr absl::string_view kHex = "0123456789abcdef";
  out->push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (byte >= 0x20) {
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\t') {
      out->append("\\t");
    } else {
      out->append("\\u00");
      out->push_back(kHex[byte >> 4]);
      out->push_back(kHex[byte & 15]);
    }
  }
  out->push_back('"');
}

bool IsUtf8(absl::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned char first = byte(i);
    const size_t length = first < 0x80    ? 1
                          : first < 0xc2  ? 0
                          : first < 0xe0  ? 2
                          : first < 0xf0  ? 3
                          : first <= 0xf4 ? 4
                                          : 0;
    if (length == 0 || i + length > text.size()) {
      return false;
    }
    for (size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xc0) != 0x80) {
        return false;
      }
    }
    // Longer than need be, a surrogate, or beyond U+10FFFF.
    if ((first == 0xe0 && byte(i + 1) < 0xa0) || (first == 0xed && byte(i + 1) > 0x9f) ||
        (first == 0xf0 && byte(i + 1) < 0x90) || (first == 0xf4 && byte(i + 1) > 0x8f)) {
      return false;
    }
    i += length;
  }
  return true;
}

std::string Excerpt(absl::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) {
    return std::string(text);
  }
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
    --end;
  }
  return absl::StrCat(text.substr(0, end), "...");
}

}  // namespace ballast::gateway
