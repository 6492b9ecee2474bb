// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/message_reader.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace ballast::gateway {
namespace {

constexpr absl::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr absl::string_view kBlanks = " \t\r\n";
constexpr absl::string_view kTooLong = "the value is longer than 16 MiB";
constexpr absl::string_view kTooDeep = "the value is nested deeper than 64 levels";
constexpr absl::string_view kNoJson = "this is no JSON";
constexpr absl::string_view kUnfinished = "the value is not finished";
// A buffer that grew beyond this is given back after use.
constexpr size_t kKeptCapacity = KiB(256);

// How many bytes of `bytes` belong to the current line, its newline included.
size_t LineBytes(absl::string_view bytes) {
  const size_t newline = bytes.find('\n');
  return newline == absl::string_view::npos ? bytes.size() : newline + 1;
}

void Release(std::string& buffer) {
  if (buffer.capacity() > kKeptCapacity) {
    std::string().swap(buffer);
  } else {
    buffer.clear();
  }
}

}  // namespace

MessageReader::MessageReader(const ReaderLimits& limits)
    : limits_(limits), scanner_(limits.depth_max) {}

void MessageReader::Feed(absl::string_view bytes, ReaderSink& sink) {
  while (mark_bytes_ < kByteOrderMark.size() && !bytes.empty()) {
    if (bytes.front() != kByteOrderMark[mark_bytes_]) {
      const absl::string_view no_mark = kByteOrderMark.substr(0, mark_bytes_);
      mark_bytes_ = kByteOrderMark.size();
      Consume(no_mark, sink);
      break;
    }
    ++mark_bytes_;
    bytes.remove_prefix(1);
  }
  Consume(bytes, sink);
}

void MessageReader::Finish(ReaderSink& sink) {
  if (mark_bytes_ < kByteOrderMark.size()) {
    Consume(kByteOrderMark.substr(0, mark_bytes_), sink);
  }
  if (mode_ == Mode::kHoldLine) {
    DecideLine(std::exchange(line_, {}), sink);
  }
  if (mode_ == Mode::kInValue) {
    scanner_.Finish();
    if (scanner_.state() == JsonScanner::State::kComplete) {
      mode_ = Mode::kBetween;
      sink.OnValue(TakeText(), line_number_);
    } else {
      GoWrong(kUnfinished, sink);
    }
  }
  if (mode_ == Mode::kInValue) {  // what the last line began is unfinished too
    GoWrong(kUnfinished, sink);
  }
  if (mode_ == Mode::kDraining) {
    Report(drained_for_, sink);
  }
  mode_ = Mode::kBetween;
}

void MessageReader::Consume(absl::string_view bytes, ReaderSink& sink) {
  while (!bytes.empty()) {
    size_t taken = 0;
    switch (mode_) {
      case Mode::kBetween:
        taken = PassBlanks(bytes);
        break;
      case Mode::kInValue:
        taken = InValue(bytes, sink);
        break;
      case Mode::kHoldLine:
        taken = HoldLine(bytes, sink);
        break;
      case Mode::kDraining:
        taken = Drain(bytes, sink);
        break;
      case Mode::kSkipping:
        taken = SkipLine(bytes);
        break;
    }
    bytes.remove_prefix(taken);
  }
}

size_t MessageReader::PassBlanks(absl::string_view bytes) {
  size_t taken = 0;
  while (taken < bytes.size()) {
    const char c = bytes[taken];
    if (c == '\n') {
      ++line_number_;
    } else if (c != ' ' && c != '\t' && c != '\r') {
      scanner_.Begin();
      Release(text_);
      began_on_this_line_ = true;
      mode_ = Mode::kInValue;
      break;
    }
    ++taken;
  }
  return taken;
}

// Up to the end of the value, of the line, of the bytes, or to where it goes wrong.
size_t MessageReader::InValue(absl::string_view bytes, ReaderSink& sink) {
  const size_t room = limits_.value_bytes_max - text_.size();
  const absl::string_view line = bytes.substr(0, std::min(LineBytes(bytes), room));
  const size_t taken = scanner_.Scan(line);
  text_.append(line.data(), taken);
  switch (scanner_.state()) {
    case JsonScanner::State::kComplete:
      mode_ = Mode::kBetween;
      // A line feed is never a value's last byte.
      sink.OnValue(TakeText(), line_number_);
      return taken;
    case JsonScanner::State::kTooDeep:
      GoWrong(kTooDeep, sink);
      return taken;
    case JsonScanner::State::kWrong:
      GoWrong(kNoJson, sink);
      return taken;
    case JsonScanner::State::kOpen:
      break;
  }
  if (taken == 0) {
    GoWrong(kTooLong, sink);
  } else if (line.back() == '\n') {
    ++line_number_;
    began_on_this_line_ = false;
    line_start_ = text_.size();
    mode_ = Mode::kHoldLine;
  }
  return taken;
}

size_t MessageReader::HoldLine(absl::string_view bytes, ReaderSink& sink) {
  if (line_.empty()) {
    const size_t first = bytes.find_first_not_of(" \t\r");
    if (first != 0) {  // blanks are the value's at no risk
      const size_t room = limits_.value_bytes_max - text_.size();
      const size_t blanks = std::min(std::min(first, bytes.size()), room);
      text_.append(bytes.data(), blanks);
      mode_ = blanks == room ? Mode::kInValue : Mode::kHoldLine;
      return blanks;
    }
    if (bytes.front() != '{') {
      mode_ = Mode::kInValue;
      return 0;
    }
  }
  const size_t taken = LineBytes(bytes);
  const absl::string_view piece = bytes.substr(0, taken);
  const bool whole = piece.back() == '\n';
  if (line_.empty() && whole) {
    DecideLine(piece, sink);
    return taken;
  }
  line_.append(piece.data(), piece.size());
  if (whole || line_.size() > limits_.value_bytes_max) {
    DecideLine(std::exchange(line_, {}), sink);
  }
  return taken;
}

// `line` goes on with the value, or is a value of its own.
void MessageReader::DecideLine(absl::string_view line, ReaderSink& sink) {
  mode_ = Mode::kInValue;
  if (line.size() <= limits_.value_bytes_max && IsEnvelopeAlone(line)) {
    Report(kUnfinished, sink);
    mode_ = Mode::kBetween;
  }
  Consume(line, sink);
}

// `line` begins with a brace.
bool MessageReader::IsEnvelopeAlone(absl::string_view line) {
  if (line.empty() || line[line.find_last_not_of(kBlanks)] != '}') {
    return false;
  }
  JsonScanner alone(limits_.depth_max);
  alone.Drain();
  line.remove_prefix(alone.Scan(line));
  return alone.state() == JsonScanner::State::kComplete && alone.facts().IsEnvelope() &&
         line.find_first_not_of(kBlanks) == absl::string_view::npos;
}

// The value cannot go on. Leaves a mode that takes the byte at hand.
void MessageReader::GoWrong(absl::string_view problem, ReaderSink& sink) {
  if (!began_on_this_line_) {
    const std::string line = text_.substr(line_start_);
    Report(problem, sink);
    mode_ = Mode::kBetween;
    Consume(line, sink);  // goes wrong in its own line, if at all: no deeper
    return;
  }
  if (problem == kTooLong || problem == kTooDeep) {
    Release(text_);
    drained_for_ = problem;
    scanner_.Drain();
    mode_ = Mode::kDraining;
    return;
  }
  Report(problem, sink);
  mode_ = Mode::kSkipping;
}

size_t MessageReader::Drain(absl::string_view bytes, ReaderSink& sink) {
  const size_t line_bytes = LineBytes(bytes);
  const size_t taken = scanner_.Scan(bytes.substr(0, line_bytes));
  if (scanner_.state() != JsonScanner::State::kOpen) {
    Report(drained_for_, sink);
    mode_ = Mode::kSkipping;
  } else if (bytes[line_bytes - 1] == '\n') {
    Report(drained_for_, sink);
    ++line_number_;
    mode_ = Mode::kBetween;
  }
  return taken;
}

size_t MessageReader::SkipLine(absl::string_view bytes) {
  const size_t taken = LineBytes(bytes);
  if (bytes[taken - 1] == '\n') {
    ++line_number_;
    mode_ = Mode::kBetween;
  }
  return taken;
}

void MessageReader::Report(absl::string_view problem, ReaderSink& sink) {
  Release(text_);
  sink.OnBadValue(problem, scanner_.facts(), line_number_);
}

std::string MessageReader::TakeText() {
  CHECK_LE(text_.size(), limits_.value_bytes_max);
  return std::exchange(text_, {});
}

}  // namespace ballast::gateway
