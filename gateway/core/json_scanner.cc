// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/json_scanner.h"

#include <algorithm>
#include <array>

namespace ballast::gateway {
namespace {

// Levels that are followed when a value is drained; more count as wrong. A bit each.
constexpr size_t kDrainDepthMax = 1 << 20;
// The longest name of the envelope, and one byte so that longer ones differ.
constexpr size_t kNameKeptMax = 8;
constexpr size_t kLiteralKeptMax = 4096;

bool IsSpace(unsigned char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(unsigned char c) { return c >= '0' && c <= '9'; }
bool IsHex(unsigned char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Bytes that a string just passes over: all but the quote, the backslash and control characters.
constexpr std::array<bool, 256> MakePlain() {
  std::array<bool, 256> plain{};
  for (size_t c = 0; c < plain.size(); ++c) {
    plain[c] = c >= 0x20 && c != '"' && c != '\\';
  }
  return plain;
}
constexpr std::array<bool, 256> kPlain = MakePlain();

}  // namespace

void EnvelopeFacts::Clear() {
  for (Field* field : {&src, &dest, &msg_id}) {
    field->told = false;
    field->count = 0;
    field->literal.clear();
  }
  has_body = false;
}

void JsonScanner::Begin() {
  state_ = State::kOpen;
  drained_ = false;
  expect_ = Expect::kValue;
  levels_.clear();
  facts_.Clear();
  slot_ = Slot::kNone;
  in_body_ = false;
  kept_ = nullptr;
  field_ = nullptr;
}

size_t JsonScanner::Scan(absl::string_view bytes) {
  size_t taken = 0;
  while (taken < bytes.size() && state_ == State::kOpen) {
    if (expect_ == Expect::kString) {
      taken += ScanString(bytes.substr(taken));
      if (taken == bytes.size()) {
        break;
      }
    }
    if (!Step(static_cast<unsigned char>(bytes[taken]))) {
      // Only a number ends without a byte of its own.
      if (state_ == State::kOpen) {
        state_ = State::kWrong;
      }
      break;
    }
    ++taken;
  }
  return taken;
}

void JsonScanner::Finish() {
  if (state_ == State::kOpen && NumberIsWhole()) {
    EndValue();
  }
}

void JsonScanner::Drain() {
  drained_ = true;
  if (state_ == State::kTooDeep) {
    state_ = State::kOpen;
  }
}

// Passes over plain bytes of a string.
size_t JsonScanner::ScanString(absl::string_view bytes) {
  size_t end = 0;
  while (end < bytes.size() && kPlain[static_cast<unsigned char>(bytes[end])]) {
    ++end;
  }
  Keep(bytes.substr(0, end));
  return end;
}

// Takes one byte; false if it cannot follow, or if a number ended before it at top level.
bool JsonScanner::Step(unsigned char c) {
  switch (expect_) {
    case Expect::kValue:
      return IsSpace(c) || BeginValue(c);
    case Expect::kValueOrEnd:
      return IsSpace(c) || (c == ']' ? Close(false) : BeginValue(c));
    case Expect::kNameOrEnd:
    case Expect::kName:
      if (c == '"') {
        string_is_name_ = true;
        expect_ = Expect::kString;
        if (levels_.size() == 1 || (levels_.size() == 2 && in_body_)) {
          name_.clear();
          kept_ = &name_;
          kept_max_ = kNameKeptMax;
        }
        return true;
      }
      return IsSpace(c) || (c == '}' && expect_ == Expect::kNameOrEnd && Close(true));
    case Expect::kColon:
      if (c == ':') {
        expect_ = Expect::kValue;
        return true;
      }
      return IsSpace(c);
    case Expect::kCommaOrEnd:
      if (c == ',') {
        expect_ = levels_.back() ? Expect::kName : Expect::kValue;
        return true;
      }
      return IsSpace(c) || ((c == ']' || c == '}') && Close(c == '}'));
    case Expect::kString:
      if (c == '"') {
        EndString();
        return true;
      }
      expect_ = Expect::kEscape;
      Keep("\\");
      return c == '\\';  // else a control character
    case Expect::kEscape:
      expect_ = c == 'u' ? Expect::kHex1 : Expect::kString;
      Keep(absl::string_view(reinterpret_cast<const char*>(&c), 1));
      return c == 'u' || c == '"' || c == '\\' || c == '/' || c == 'b' || c == 'f' || c == 'n' ||
             c == 'r' || c == 't';
    case Expect::kHex1:
    case Expect::kHex2:
    case Expect::kHex3:
    case Expect::kHex4:
      expect_ = expect_ == Expect::kHex4 ? Expect::kString
                                         : static_cast<Expect>(static_cast<int>(expect_) + 1);
      Keep(absl::string_view(reinterpret_cast<const char*>(&c), 1));
      return IsHex(c);
    case Expect::kLiteral:
      if (c != static_cast<unsigned char>(*literal_rest_)) {
        return false;
      }
      if (*++literal_rest_ == '\0') {
        EndValue();
      }
      return true;
    default:
      break;
  }
  if (InNumber(c)) {
    Keep(absl::string_view(reinterpret_cast<const char*>(&c), 1));
    return true;
  }
  if (!NumberIsWhole()) {
    return false;
  }
  EndValue();
  return state_ == State::kOpen && Step(c);  // one level deep: a number is never followed by one
}

bool JsonScanner::BeginValue(unsigned char c) {
  const auto literal = [this](const char* rest) {
    literal_rest_ = rest;
    expect_ = Expect::kLiteral;
    return true;
  };
  switch (c) {
    case '{':
      return Open(true);
    case '[':
      return Open(false);
    case '"':
      string_is_name_ = false;
      expect_ = Expect::kString;
      if (slot_ == Slot::kSrc || slot_ == Slot::kDest) {
        Capture(FieldOf(slot_));
      }
      return true;
    case 't':
      return literal("rue");
    case 'f':
      return literal("alse");
    case 'n':
      return literal("ull");
    default:
      break;
  }
  if (c != '-' && !IsDigit(c)) {
    return false;
  }
  expect_ = c == '-' ? Expect::kMinus : c == '0' ? Expect::kZero : Expect::kDigits;
  if (slot_ == Slot::kMsgId) {
    Capture(&facts_.msg_id);
    Keep(absl::string_view(reinterpret_cast<const char*>(&c), 1));
  }
  return true;
}

// The byte continues the number at hand. Changes nothing if it does not.
bool JsonScanner::InNumber(unsigned char c) {
  const bool digit = IsDigit(c);
  const auto go = [this](bool fits, Expect next) {
    expect_ = fits ? next : expect_;
    return fits;
  };
  switch (expect_) {
    case Expect::kMinus:
      return go(digit, c == '0' ? Expect::kZero : Expect::kDigits);
    case Expect::kZero:
    case Expect::kDigits:
      return go(c == '.', Expect::kPoint) || go(c == 'e' || c == 'E', Expect::kExponent) ||
             (digit && expect_ == Expect::kDigits);
    case Expect::kPoint:
      return go(digit, Expect::kFraction);
    case Expect::kFraction:
      return digit || go(c == 'e' || c == 'E', Expect::kExponent);
    case Expect::kExponent:
      return go(digit, Expect::kExponentDigits) || go(c == '+' || c == '-', Expect::kExponentSign);
    case Expect::kExponentSign:
      return go(digit, Expect::kExponentDigits);
    default:
      return digit;  // kExponentDigits
  }
}

bool JsonScanner::NumberIsWhole() const {
  return expect_ == Expect::kZero || expect_ == Expect::kDigits || expect_ == Expect::kFraction ||
         expect_ == Expect::kExponentDigits;
}

bool JsonScanner::Open(bool is_object) {
  if (levels_.size() >= (drained_ ? kDrainDepthMax : depth_max_)) {
    state_ = drained_ ? State::kWrong : State::kTooDeep;
    return false;
  }
  if (slot_ == Slot::kBody && is_object && levels_.size() == 1) {
    in_body_ = true;
    facts_.has_body = true;
  }
  slot_ = Slot::kNone;
  levels_.push_back(is_object);
  expect_ = is_object ? Expect::kNameOrEnd : Expect::kValueOrEnd;
  return true;
}

bool JsonScanner::Close(bool is_object) {
  if (levels_.back() != is_object) {
    return false;
  }
  levels_.pop_back();
  if (levels_.size() == 1) {
    in_body_ = false;
  }
  EndValue();
  return true;
}

void JsonScanner::EndString() {
  if (string_is_name_) {
    EndName();
    expect_ = Expect::kColon;
  } else {
    EndValue();
  }
}

void JsonScanner::EndName() {
  slot_ = Slot::kNone;
  if (kept_ == nullptr) {
    return;
  }
  kept_ = nullptr;
  if (in_body_) {
    slot_ = name_ == "msg_id" ? Slot::kMsgId : Slot::kNone;
  } else if (levels_.front()) {
    slot_ = name_ == "src"    ? Slot::kSrc
            : name_ == "dest" ? Slot::kDest
            : name_ == "body" ? Slot::kBody
                              : Slot::kNone;
  }
  if (EnvelopeFacts::Field* field = FieldOf(slot_); field != nullptr && ++field->count > 1) {
    field->told = false;  // the second of two is as doubtful as the first
  }
}

EnvelopeFacts::Field* JsonScanner::FieldOf(Slot slot) {
  switch (slot) {
    case Slot::kSrc:
      return &facts_.src;
    case Slot::kDest:
      return &facts_.dest;
    case Slot::kMsgId:
      return &facts_.msg_id;
    default:
      return nullptr;
  }
}

void JsonScanner::EndValue() {
  Captured();
  slot_ = Slot::kNone;
  if (levels_.empty()) {
    state_ = State::kComplete;
  } else {
    expect_ = Expect::kCommaOrEnd;
  }
}

// Keeps the string or number that begins as `field`'s literal.
void JsonScanner::Capture(EnvelopeFacts::Field* field) {
  field_ = field;
  field->literal.clear();
  kept_ = &field->literal;
  kept_max_ = kLiteralKeptMax;
}

void JsonScanner::Captured() {
  if (field_ != nullptr) {
    field_->told = field_->count == 1 && field_->literal.size() < kLiteralKeptMax;
    field_ = nullptr;
    kept_ = nullptr;
  }
}

void JsonScanner::Keep(absl::string_view bytes) {
  if (kept_ != nullptr) {
    kept_->append(bytes.data(), std::min(bytes.size(), kept_max_ - kept_->size()));
  }
}

}  // namespace ballast::gateway
