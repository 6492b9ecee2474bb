// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace ballast::gateway {

// What could be seen of a message's envelope, also in a value that is cut off or goes wrong: the
// literals as they stand in the text, quotes removed, escapes not resolved.
struct EnvelopeFacts {
  // A field is told if it stood there once, whole, with the right type and a sane length.
  struct Field {
    bool told = false;
    uint32_t count = 0;  // times its name was seen
    std::string literal;
  };
  Field src;              // string
  Field dest;             // string
  Field msg_id;           // number; of body
  bool has_body = false;  // an object

  void Clear();
  // An object that has src, dest and body: whether they hold what they must is another matter.
  bool IsEnvelope() const { return src.told && dest.told && has_body; }
};

// Follows one JSON value byte by byte, in pieces of any size, and says where it ends or where it
// goes wrong. Grammar only: that strings are Unicode, numbers representable and names unique is
// for whoever parses the whole text.
//
// A plain value: no clock, no I/O; not thread-safe. Memory: a bit a level of nesting, bounded, and
// the envelope's literals, bounded.
class JsonScanner {
 public:
  enum class State {
    kOpen,      // so far so good
    kComplete,  // the last byte that Scan took ended the value
    kTooDeep,   // the next byte would open one level too many; Drain goes on nevertheless
    kWrong,     // the next byte cannot follow
  };

  explicit JsonScanner(size_t depth_max) : depth_max_(depth_max) { Begin(); }

  // A new value. The next byte is its first one: no whitespace.
  void Begin();

  // Takes bytes until the value is complete or goes wrong, and returns how many it took. A number
  // at top level is complete only by the byte behind it, which is not taken, or by Finish.
  size_t Scan(absl::string_view bytes);

  // No more bytes: a number at top level is complete, anything else that is open stays so.
  void Finish();

  // For this value: go on regardless of depth (within bounds), for the sake of facts().
  void Drain();

  State state() const { return state_; }
  const EnvelopeFacts& facts() const { return facts_; }

 private:
  // What may come next.
  enum class Expect : uint8_t {
    kValue,
    kValueOrEnd,  // after [
    kNameOrEnd,   // after {
    kName,        // after , in an object
    kColon,
    kCommaOrEnd,
    kString,
    kEscape,
    kHex1,
    kHex2,
    kHex3,
    kHex4,
    kMinus,
    kZero,
    kDigits,
    kPoint,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
    kLiteral,
  };
  // Which field of the envelope the value at hand belongs to.
  enum class Slot : uint8_t { kNone, kSrc, kDest, kBody, kMsgId };

  bool Step(unsigned char c);
  bool BeginValue(unsigned char c);
  bool InNumber(unsigned char c);
  bool NumberIsWhole() const;
  bool Open(bool is_object);
  bool Close(bool is_object);
  size_t ScanString(absl::string_view bytes);
  void EndString();
  void EndName();
  void EndValue();
  EnvelopeFacts::Field* FieldOf(Slot slot);
  void Capture(EnvelopeFacts::Field* field);
  void Captured();
  void Keep(absl::string_view bytes);

  const size_t depth_max_;
  bool drained_ = false;
  State state_ = State::kOpen;
  Expect expect_ = Expect::kValue;
  bool string_is_name_ = false;
  const char* literal_rest_ = "";
  std::vector<bool> levels_;  // true: an object

  EnvelopeFacts facts_;
  Slot slot_ = Slot::kNone;
  bool in_body_ = false;
  std::string* kept_ = nullptr;  // where bytes of a string or number are kept
  size_t kept_max_ = 0;
  EnvelopeFacts::Field* field_ = nullptr;  // whose literal that is, if it is one
  std::string name_;
};

}  // namespace ballast::gateway
