// SPDX-License-Identifier: Apache-2.0
// Any bytes on the gateway's standard input, through reader, requests, dispatcher and replies over
// a fake cluster. Run by `./dev fuzz`; the corpus is replayed by the unit test gateway_corpus_test.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/base/rng.h"
#include "tests/unit/gateway/conversation.h"

namespace ballast::gateway {
namespace {

void Prepare(Conversation& talk, uint8_t mode) {
  talk.backend.orders = {{"a\"\n"}, {"\xff"}};
  talk.backend.rows = {{"s", true, 1, 2}};
  talk.backend.report = {33.333, {{"s", 1e300}}, {{"t", -0.001}}};
  talk.backend.outcomes = {{absl::NotFoundError("\x80"), 7}};
  if ((mode & 1) != 0) {
    talk.backend.failure = absl::UnavailableError("no \"cluster\"\x01");
  }
}

void CheckReplies(const Conversation& talk) {
  CHECK_EQ(talk.replies.size() + talk.problems.size(), talk.values);
  uint64_t next = 0;
  for (const std::string& reply : talk.replies) {
    CHECK(reply.find('\n') == std::string::npos);
    const auto json = nlohmann::json::parse(reply, nullptr, false);
    CHECK(json.is_object()) << reply;
    CHECK(json["src"].is_string() && json["dest"].is_string());
    CHECK(json["body"]["in_reply_to"].is_number());
    CHECK_EQ(json["body"]["msg_id"].get<uint64_t>(), next);
    ++next;
  }
}

}  // namespace
}  // namespace ballast::gateway

// The first byte chooses limits, failures of the cluster and the pieces.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ballast::gateway::Conversation;
  using ballast::gateway::ReaderLimits;
  if (size == 0) {
    return 0;
  }
  const uint8_t mode = data[0];
  const absl::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const ReaderLimits limits =
      (mode & 2) != 0 ? ReaderLimits{.value_bytes_max = 200, .depth_max = 6} : ReaderLimits();

  Conversation whole(limits);
  ballast::gateway::Prepare(whole, mode);
  whole.Run(input);
  ballast::gateway::CheckReplies(whole);

  Conversation pieces(limits);
  ballast::gateway::Prepare(pieces, mode);
  ballast::Rng rng(mode);
  pieces.RunInPieces(input, rng);
  CHECK(pieces.replies == whole.replies);
  CHECK(pieces.problems == whole.problems);
  return 0;
}
