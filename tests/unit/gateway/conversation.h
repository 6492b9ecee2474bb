// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/rng.h"
#include "common/env/clock.h"
#include "gateway/core/message_reader.h"
#include "gateway/core/request.h"
#include "gateway/dispatcher.h"
#include "tests/unit/gateway/fake_backend.h"

namespace ballast::gateway {

class ManualClock : public Clock {
 public:
  SteadyTime now = SteadyTime::FromOrigin(absl::Seconds(1000));
  SteadyTime SteadyNow() override { return now; }
  absl::Time WallNow() override { return absl::UnixEpoch(); }
};

// The whole front on one thread, without its streams: bytes in, reply lines out.
class Conversation : public ReaderSink {
 public:
  FakeBackend backend;
  ManualClock clock;
  std::vector<std::string> replies;   // without the newline
  std::vector<std::string> problems;  // "line N: text"
  uint64_t values = 0;                // that the reader found, bad ones included

  explicit Conversation(const ReaderLimits& limits = {})
      : reader_(limits),
        dispatcher_([this]() -> absl::StatusOr<ClusterBackend*> { return &backend; }, clock) {}

  void Feed(absl::string_view bytes) { reader_.Feed(bytes, *this); }
  void Finish() { reader_.Finish(*this); }

  // All of it in one piece.
  Conversation& Run(absl::string_view input) {
    Feed(input);
    Finish();
    return *this;
  }
  // In pieces of random sizes, mostly tiny.
  Conversation& RunInPieces(absl::string_view input, Rng& rng) {
    while (!input.empty()) {
      const size_t piece = rng.OneIn(4) ? rng.Between(1, 300) : rng.Between(1, 3);
      Feed(input.substr(0, piece));
      input.remove_prefix(std::min(piece, input.size()));
    }
    Finish();
    return *this;
  }

  void OnValue(std::string text, uint64_t line) override {
    ++values;
    Take(ParseMessage(std::move(text)), line);
  }
  void OnBadValue(absl::string_view problem, const EnvelopeFacts& facts, uint64_t line) override {
    ++values;
    Take(RefuseBadValue(problem, facts), line);
  }

 private:
  void Take(const ParsedMessage& parsed, uint64_t line) {
    if (const auto* nobody = std::get_if<Unanswerable>(&parsed); nobody != nullptr) {
      problems.push_back(absl::StrCat("line ", line, ": ", nobody->text));
      return;
    }
    const std::string reply = dispatcher_.Handle(std::get<Message>(parsed), clock.now);
    replies.emplace_back(absl::StripSuffix(reply, "\n"));
  }

  MessageReader reader_;
  Dispatcher dispatcher_;
};

// {"src":"c1","dest":"n1","body":{"type":TYPE,"msg_id":MSG_ID,REST}}
inline std::string Line(absl::string_view type, int msg_id, absl::string_view rest = "") {
  return absl::StrCat(R"({"src":"c1","dest":"n1","body":{"type":")", type, R"(","msg_id":)", msg_id,
                      rest.empty() ? "" : ",", rest, "}}");
}

// The reply to Line(TYPE, in_reply_to), fields as text.
inline std::string Ok(absl::string_view type, int in_reply_to, int msg_id,
                      absl::string_view rest = "") {
  return absl::StrCat(R"({"src":"n1","dest":"c1","body":{"type":")", type, R"(_ok","in_reply_to":)",
                      in_reply_to, R"(,"msg_id":)", msg_id, rest.empty() ? "" : ",", rest, "}}");
}

inline std::string Error(int in_reply_to, int msg_id, int code, absl::string_view text) {
  return absl::StrCat(R"({"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":)",
                      in_reply_to, R"(,"msg_id":)", msg_id, R"(,"code":)", code, R"(,"text":")",
                      text, R"("}})");
}

}  // namespace ballast::gateway
