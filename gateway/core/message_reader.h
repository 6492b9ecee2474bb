// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/byte_units.h"
#include "gateway/core/json_scanner.h"

namespace ballast::gateway {

struct ReaderLimits {
  size_t value_bytes_max = MiB(16);
  size_t depth_max = 64;
};

// What a reader finds, in input order.
class ReaderSink {
 public:
  virtual ~ReaderSink() = default;
  // A whole JSON value that ended on this line. Its text is grammatical and within the limits.
  virtual void OnValue(std::string text, uint64_t line) = 0;
  // No value: `problem` says why, `facts` what of an envelope could be seen; both are good for the
  // call only.
  virtual void OnBadValue(absl::string_view problem, const EnvelopeFacts& facts, uint64_t line) = 0;
};

// Cuts a stream of bytes into JSON values, one after another, in any layout. The result does not
// depend on how the stream is cut into pieces.
//
// A value is found as soon as its last byte was fed. Finding the way back after garbage:
//   * A line that alone is a whole envelope (an object with src, dest and a body) is a value, and
//     ends one that is unfinished.
//   * Otherwise a value that goes wrong (grammar, depth, length) in a line after the one in which
//     it began is left where that line starts, and reading resumes there; one that goes wrong in
//     the line in which it began is left together with the rest of that line.
//   * A byte order mark at the very beginning is passed over.
//
// Memory: two times value_bytes_max and a little. Time: each byte is looked at no more than four
// times, whatever the input. A plain value: not thread-safe, no clock, no I/O.
class MessageReader {
 public:
  explicit MessageReader(const ReaderLimits& limits = {});

  void Feed(absl::string_view bytes, ReaderSink& sink);
  // The input has ended: what is unfinished is bad. Once, last.
  void Finish(ReaderSink& sink);

 private:
  enum class Mode {
    kBetween,   // values; blanks are passed over
    kInValue,   // text_ holds the value's bytes so far
    kHoldLine,  // at the start of a line within a value: line_ is kept until it is clear whether it
                // alone is an envelope
    kDraining,  // in a value beyond the limits, for its facts, until its line ends
    kSkipping,  // the rest of a line
  };

  void Consume(absl::string_view bytes, ReaderSink& sink);
  // Each takes bytes from the front and returns how many.
  size_t PassBlanks(absl::string_view bytes);
  size_t InValue(absl::string_view bytes, ReaderSink& sink);
  size_t HoldLine(absl::string_view bytes, ReaderSink& sink);
  size_t Drain(absl::string_view bytes, ReaderSink& sink);
  size_t SkipLine(absl::string_view bytes);

  void DecideLine(absl::string_view line, ReaderSink& sink);
  bool IsEnvelopeAlone(absl::string_view line);
  void GoWrong(absl::string_view problem, ReaderSink& sink);
  void Report(absl::string_view problem, ReaderSink& sink);
  std::string TakeText();

  const ReaderLimits limits_;
  Mode mode_ = Mode::kBetween;
  JsonScanner scanner_;
  std::string text_;
  bool began_on_this_line_ = true;
  size_t line_start_ = 0;  // offset in text_ of the current line, if the value began before it
  std::string line_;
  absl::string_view drained_for_;  // the limit that a drained value broke
  uint64_t line_number_ = 1;
  size_t mark_bytes_ = 0;  // of a byte order mark, 3: there is none, or it is behind us
};

}  // namespace ballast::gateway
