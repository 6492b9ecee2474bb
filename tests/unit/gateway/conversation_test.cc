// SPDX-License-Identifier: Apache-2.0
// The message protocol as seen from outside, over a fake cluster: what goes in, what comes out.
#include "tests/unit/gateway/conversation.h"

#include <string>
#include <vector>

#include "common/base/byte_units.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

const char kInit[] =
    R"({"src":"c0","dest":"n1","body":{"type":"init","msg_id":1,"node_id":"n1","node_ids":["n1","n2"]}})";
const char kInitOk[] =
    R"({"src":"n1","dest":"c0","body":{"type":"init_ok","in_reply_to":1,"msg_id":0}})";

TEST(ConversationTest, EveryRequestIsCarriedOutAndAnswered) {
  struct Row {
    std::string type;
    std::string request;
    std::string call;
    std::string reply;
  };
  const std::vector<Row> rows = {
      {"heartbeat", R"("server":"cs1","chunks":["a","b","a"],"disk_usage_pct":30.5)",
       "heartbeat cs1 [a,b] 30.5% '' 0 ago",
       R"("status":"alive","chunks_to_delete":["x"],"chunks_to_replicate":[])"},
      {"heartbeat", R"("server":"cs1","chunks":[],"disk_usage_pct":100,"health":"failing")",
       "heartbeat cs1 [] 100% 'failing' 0 ago",
       R"("status":"alive","chunks_to_delete":["x"],"chunks_to_replicate":[])"},
      {"heartbeat", R"("server":"cs1","chunks":[],"disk_usage_pct":0,"health":"")",
       "heartbeat cs1 [] 0% '' 0 ago",
       R"("status":"alive","chunks_to_delete":["x"],"chunks_to_replicate":[])"},
      {"server_status", "", "servers",
       R"("servers":[{"server":"cs1","status":"alive","chunks":2,"last_heartbeat_ms_ago":40},)"
       R"({"server":"cs2","status":"dead","chunks":0,"last_heartbeat_ms_ago":20000}])"},
      {"rebalance_check", "", "check",
       R"("average_utilization_pct":46.67,"overloaded":[{"server":"cs1","utilization_pct":90}],)"
       R"("underloaded":[{"server":"cs2","utilization_pct":3.10}])"},
      {"rebalance_execute", R"("moves":[{"chunk":"c","from":"cs1","to":"cs2"}])", "move c:cs1>cs2",
       R"("moved":1,"bytes_transferred":67108864)"},
      {"rebalance_execute", R"("moves":[])", "move", R"("moved":0,"bytes_transferred":0)"},
      {"set_config", R"("version":1,"shards":[2,0,2,65535])", "set_config 1 [0,2,65535]", ""},
      {"config_update", R"("version":3,"shards":[])", "config_update 3 []",
       R"("applied":false,"current_version":1)"},
      {"add_server", R"("server":"s1")", "add s1 -", R"("servers":["s1"])"},
      {"add_server", R"("server":"s2","weight":1.5)", "add s2 1.5", R"("servers":["s1","s2"])"},
      {"get_server", R"("key":"k")", "route k", R"("server":"s1","servers":["s1","s2"])"},
      {"remove_server", R"("server":"s1")", "remove s1", R"("servers":["s2"])"},
      {"write", R"("key":"k","value":{"b":[1,"x"],"a":null})", R"(write k={"a":null,"b":[1,"x"]})",
       ""},
      {"read", R"("key":"k")", "read k", R"("value":{"a":null,"b":[1,"x"]})"},
      {"cas", R"("key":"k","from":{"a":null,"b":[1.0,"x"]},"to":2)",
       R"(cas k {"a":null,"b":[1,"x"]}>2)", ""},
      {"read", R"("key":"k")", "read k", R"("value":2)"},
      // keys that are no strings
      {"write", R"("key":7,"value":"seven")", R"(write 7="seven")", ""},
      {"read", R"("key":7.0)", "read 7", R"("value":"seven")"},
      {"write", R"("key":{ "b":1, "a":[true] },"value":0.5)", R"(write {"a":[true],"b":1}=0.5)",
       ""},
      {"read", R"("key":{"a":[true],"b":1})", R"(read {"a":[true],"b":1})", R"("value":0.5)"},
      {"get_server", R"("key":null)", "route null", R"("server":"s2","servers":["s2"])"},
      {"cas", R"("key":7,"from":"seven","to":"eight","create_if_not_exists":false)",
       R"(cas 7 "seven">"eight")", ""},
  };
  Conversation talk;
  talk.backend.orders.chunks_to_delete = {"x"};
  talk.backend.rows = {{"cs1", true, 2, 40}, {"cs2", false, 5, 20000}};
  talk.backend.report = {46.666, {{"cs1", 90}}, {{"cs2", 3.1}}};
  talk.backend.update = {false, 1};
  int id = 10;
  for (const Row& row : rows) {
    talk.Feed(Line(row.type, id, row.request) + "\n");
    ASSERT_THAT(talk.replies, SizeIs(id - 9)) << row.type << " " << row.request;
    EXPECT_EQ(talk.replies.back(), Ok(row.type, id, id - 10, row.reply));
    EXPECT_EQ(talk.backend.calls().back(), row.call);
    EXPECT_THAT(talk.backend.calls(), SizeIs(id - 9));
    ++id;
  }
}

TEST(ConversationTest, MalformedFieldsAreNamed) {
  struct Row {
    std::string type;
    std::string request;
    std::string text;
  };
  const std::string name_text = "must be a string";
  const std::vector<Row> rows = {
      {"init", R"("node_ids":[])", "'node_id' is missing"},
      {"init", R"("node_id":"n1")", "'node_ids' is missing"},
      {"init", R"("node_id":"n1","node_ids":["n1",2])", "'node_ids' must be an array of strings"},
      {"heartbeat", R"("chunks":[],"disk_usage_pct":1)", "'server' is missing"},
      {"heartbeat", R"("server":5,"chunks":[],"disk_usage_pct":1)", "'server' must be a string"},
      {"heartbeat", R"("server":"","chunks":[],"disk_usage_pct":1)", "1 to 1024 bytes"},
      {"heartbeat", R"("server":"s","disk_usage_pct":1)", "'chunks' is missing"},
      {"heartbeat", R"("server":"s","chunks":"a","disk_usage_pct":1)", "array of strings"},
      {"heartbeat", R"("server":"s","chunks":[null],"disk_usage_pct":1)", "array of strings"},
      {"heartbeat", R"("server":"s","chunks":[""],"disk_usage_pct":1)", "array of strings"},
      {"heartbeat", R"("server":"s","chunks":[])", "'disk_usage_pct' is missing"},
      {"heartbeat", R"("server":"s","chunks":[],"disk_usage_pct":"30")", "number from 0 to 100"},
      {"heartbeat", R"("server":"s","chunks":[],"disk_usage_pct":-0.1)", "number from 0 to 100"},
      {"heartbeat", R"("server":"s","chunks":[],"disk_usage_pct":100.5)", "number from 0 to 100"},
      {"heartbeat", R"("server":"s","chunks":[],"disk_usage_pct":1,"health":1)", "'health'"},
      {"rebalance_execute", "", "'moves' is missing"},
      {"rebalance_execute", R"("moves":{})", "'moves' must be an array"},
      {"rebalance_execute", R"("moves":[5])", "'moves' entry 0: 'chunk' is missing"},
      {"rebalance_execute",
       R"("moves":[{"chunk":"c","from":"a","to":"b"},{"chunk":"c","from":"a"}])",
       "'moves' entry 1: 'to' is missing"},
      {"set_config", R"("shards":[])", "'version' is missing"},
      {"set_config", R"("version":-1,"shards":[])", "'version' must be an integer from 0"},
      {"set_config", R"("version":1.5,"shards":[])", "'version' must be an integer from 0"},
      {"set_config", R"("version":"1","shards":[])", "'version' must be an integer from 0"},
      {"set_config", R"("version":1)", "'shards' is missing"},
      {"config_update", R"("version":1,"shards":[65536])", "integers from 0 to 65535"},
      {"config_update", R"("version":1,"shards":[-1])", "integers from 0 to 65535"},
      {"config_update", R"("version":1,"shards":7)", "integers from 0 to 65535"},
      {"add_server", R"("weight":1)", "'server' is missing"},
      {"add_server", R"("server":"s","weight":0)", "'weight' must be a number above 0"},
      {"add_server", R"("server":"s","weight":"1")", "'weight' must be a number above 0"},
      {"remove_server", "", "'server' is missing"},
      {"get_server", "", "'key' is missing"},
      {"read", "", "'key' is missing"},
      {"read", R"("key":"")", "'key' must have 1 to 1024 bytes"},
      {"write", absl::StrCat("\"value\":1,\"key\":\"", std::string(1025, 'k'), "\""),
       "'key' must have 1 to 1024 bytes"},
      {"write", R"("key":"k")", "'value' is missing"},
      {"cas", R"("key":"k","to":1)", "'from' is missing"},
      {"cas", R"("key":"k","from":1)", "'to' is missing"},
      {"cas", R"("key":"k","from":1,"to":2,"create_if_not_exists":true)", "is not supported"},
  };
  for (const Row& row : rows) {
    Conversation talk;
    talk.Run(Line(row.type, 5, row.request));
    ASSERT_THAT(talk.replies, SizeIs(1)) << row.type << " " << row.request;
    EXPECT_THAT(talk.replies[0], StartsWith(Error(5, 0, 12, "").substr(0, 80)));
    EXPECT_THAT(talk.replies[0], HasSubstr("\"code\":12,"));
    EXPECT_THAT(talk.replies[0], HasSubstr(row.text));
    EXPECT_THAT(talk.backend.calls(), IsEmpty()) << row.type << " " << row.request;
  }
}

TEST(ConversationTest, WhoCanBeToldIsToldAndTheRestIsSaid) {
  struct Row {
    std::string input;
    std::string reply;    // empty: none
    std::string problem;  // empty: none
  };
  const std::string deep = std::string(70, '[') + std::string(70, ']');
  const std::vector<Row> rows = {
      {Line("dance", 3), Error(3, 0, 10, "unknown type 'dance'"), ""},
      {R"({"src":"c1","dest":"n1","body":{"msg_id":3}})",
       Error(3, 0, 12, "'type' must be a string"), ""},
      {R"({"src":"c1","dest":"n1","body":{"type":5,"msg_id":3}})",
       Error(3, 0, 12, "'type' must be a string"), ""},
      {R"({"src":"c1","dest":5,"body":{"type":"read","msg_id":3}})",
       R"({"src":"","dest":"c1","body":{"type":"error","in_reply_to":3,"msg_id":0,"code":12,)"
       R"("text":"'dest' must be a string"}})",
       ""},
      {R"({"src":"c1","dest":"n1","body":{"type":"read","key":"\ud800","msg_id":3}})",
       Error(3, 0, 12, "no JSON, or text that is not Unicode"), ""},
      {"{\"src\":\"c1\",\"dest\":\"n1\",\"body\":{\"type\":\"read\",\"key\":\"\xff\",\"msg_id\":3}"
       "}",
       Error(3, 0, 12, "no JSON, or text that is not Unicode"), ""},
      {R"({"src":"c1","dest":"n1","body":{"type":"write","key":1,"value":1e999,"msg_id":3}})",
       Error(3, 0, 12, "a number is beyond the range of a double"), ""},
      {R"({"src":"c1","dest":"n1","body":{"type":"read","key":1,"key":2,"msg_id":3}})",
       Error(3, 0, 12, "the name 'key' stands twice in one object"), ""},
      {R"({"src":"c1","dest":"n1","x":1,"x":1,"body":{"type":"read","key":1,"msg_id":3}})",
       Error(3, 0, 12, "the name 'x' stands twice in one object"), ""},
      {R"({"body":{"key":1,"msg_id":3,"type":"write","value":)" + deep +
           R"(},"dest":"n1","src":"c1"})",
       Error(3, 0, 12, "the value is nested deeper than 64 levels"), ""},
      {R"({"src":"c1","dest":"n1","body":{"type":"read","msg_id":3,"key":})",
       Error(3, 0, 12, "this is no JSON"), ""},
      {R"({"src":"c1","dest":"n1","body":{"type":"read","msg_id":3,)",
       Error(3, 0, 12, "the value is not finished"), ""},
      {"[]", "", "line 1: a message must be an object"},
      {"\"text\"", "", "line 1: a message must be an object"},
      {"\n\n{}", "", "line 3: 'src' must be a string"},
      {R"({"src":5,"dest":"n1","body":{"type":"read","msg_id":3}})", "",
       "line 1: 'src' must be a string"},
      {R"({"src":"c1","src":"c1","dest":"n1","body":{"type":"read","msg_id":3}})", "",
       "line 1: the name 'src' stands twice in one object"},
      {R"({"src":"c1","dest":"n1","body":[]})", "", "line 1: 'body' must be an object"},
      {R"({"src":"c1","dest":"n1","body":{"type":"read","key":1}})", "",
       "line 1: 'msg_id' must be an integer"},
      {R"({"src":"c1","dest":"n1","body":{"type":"read","key":1,"msg_id":"3"}})", "",
       "line 1: 'msg_id' must be an integer"},
      {R"({"src":"c1","dest":"n1","body":{"type":"read","key":1,"msg_id":1.5}})", "",
       "line 1: 'msg_id' must be an integer"},
      // a reply to us would be answered with an error, and that one again
      {R"({"src":"c1","dest":"n1","body":{"type":"error","msg_id":3,"in_reply_to":1}})", "",
       "line 1: a reply that was not asked for"},
  };
  for (const Row& row : rows) {
    Conversation talk;
    talk.Run(row.input);
    EXPECT_EQ(talk.replies,
              row.reply.empty() ? std::vector<std::string>() : std::vector<std::string>{row.reply})
        << row.input;
    EXPECT_EQ(talk.problems, row.problem.empty() ? std::vector<std::string>()
                                                 : std::vector<std::string>{row.problem})
        << row.input;
    EXPECT_THAT(talk.backend.calls(), IsEmpty()) << row.input;
  }
}

TEST(ConversationTest, RepliesSwapTheAddressesAndCountFromZero) {
  Conversation talk;
  // Before init; errors count like any other reply.
  talk.Feed(R"({"src":"c9","dest":"n7","body":{"type":"dance","msg_id":41}})");
  talk.Feed(kInit);
  talk.Feed(R"({"src":"c9","dest":"n1","body":{"type":"read","msg_id":-2,"key":"k"}})");
  talk.Feed(
      R"({"src":"c9","dest":"n1","body":{"type":"rebalance_check","msg_id":18446744073709551615}})");
  EXPECT_THAT(
      talk.replies,
      ElementsAre(
          R"({"src":"n7","dest":"c9","body":{"type":"error","in_reply_to":41,"msg_id":0,"code":10,"text":"unknown type 'dance'"}})",
          R"({"src":"n1","dest":"c0","body":{"type":"init_ok","in_reply_to":1,"msg_id":1}})",
          R"({"src":"n1","dest":"c9","body":{"type":"error","in_reply_to":-2,"msg_id":2,"code":20,"text":"no key 'k'"}})",
          R"({"src":"n1","dest":"c9","body":{"type":"rebalance_check_ok","in_reply_to":18446744073709551615,"msg_id":3,"average_utilization_pct":0,"overloaded":[],"underloaded":[]}})"));
}

TEST(ConversationTest, NamesOfAnyCharactersComeBackAsTheyCame) {
  Conversation talk;
  talk.Run(R"({"src":"c\u0022\u00e9\n","dest":"n\\","body":{"type":"dance","msg_id":1}})");
  EXPECT_THAT(talk.replies,
              ElementsAre(StartsWith("{\"src\":\"n\\\\\",\"dest\":\"c\\\"\xc3\xa9\\n\",")));
}

TEST(ConversationTest, WithoutADestinationTheNodeAnswers) {
  Conversation talk;
  talk.Feed(kInit);
  talk.Feed(R"({"src":"c1","body":{"type":"read","msg_id":3}})");
  EXPECT_THAT(talk.replies, ElementsAre(kInitOk, StartsWith(R"({"src":"n1","dest":"c1",)")));
}

TEST(ConversationTest, PeersGetTheCompactHeartbeatReply) {
  const auto heartbeat = [](absl::string_view src, int id) {
    return absl::StrCat(R"({"src":")", src, R"(","dest":"n1","body":{"type":"heartbeat","msg_id":)",
                        id, R"(,"server":"n2","chunks":[],"disk_usage_pct":1}})");
  };
  Conversation talk;
  talk.Feed(kInit);
  talk.Feed(heartbeat("n2", 2));
  talk.Feed(heartbeat("c1", 3));
  talk.backend.orders = {{"d"}, {}};
  talk.Feed(heartbeat("n2", 4));
  talk.backend.orders = {{}, {"r"}};
  talk.Feed(heartbeat("n2", 5));
  // A second init replaces the first one.
  talk.Feed(Line("init", 6, R"("node_id":"n1","node_ids":["n1"])"));
  talk.Feed(heartbeat("n2", 7));
  const auto reply = [](absl::string_view dest, int in_reply_to, int id, absl::string_view rest) {
    return absl::StrCat(R"({"src":"n1","dest":")", dest,
                        R"(","body":{"type":"heartbeat_ok","in_reply_to":)", in_reply_to,
                        R"(,"msg_id":)", id, R"(,"status":"alive")", rest, "}}");
  };
  EXPECT_THAT(
      talk.replies,
      ElementsAre(kInitOk, reply("n2", 2, 1, ""),
                  reply("c1", 3, 2, R"(,"chunks_to_delete":[],"chunks_to_replicate":[])"),
                  reply("n2", 4, 3, R"(,"chunks_to_delete":["d"])"),
                  reply("n2", 5, 4, R"(,"chunks_to_replicate":["r"])"), Ok("init", 6, 5),
                  reply("n2", 7, 6, R"(,"chunks_to_delete":[],"chunks_to_replicate":["r"])")));
}

TEST(ConversationTest, MovesThatFailAreListedWithTheirReason) {
  Conversation talk;
  talk.backend.outcomes = {{absl::OkStatus(), 100},
                           {absl::NotFoundError("no such \"server\""), 0},
                           {absl::UnavailableError("lost"), 20}};
  talk.Run(Line("rebalance_execute", 2,
                R"("moves":[{"chunk":"a","from":"x","to":"y"},{"chunk":"b","from":"x","to":"z"},)"
                R"({"chunk":"c","from":"x","to":"y"}])"));
  EXPECT_THAT(talk.replies,
              ElementsAre(Ok("rebalance_execute", 2, 0,
                             R"("moved":1,"bytes_transferred":120,"failed":[{"chunk":"b",)"
                             R"("reason":"no such \"server\""},{"chunk":"c","reason":"lost"}])")));
}

TEST(ConversationTest, NumbersAreIntegersWhenWholeElseTwoDecimals) {
  const std::vector<std::pair<double, std::string>> numbers = {
      {0, "0"},          {50, "50"},   {49.999, "50"},  {33.333333, "33.33"},
      {66.666, "66.67"}, {0.004, "0"}, {12.5, "12.50"}, {99.99, "99.99"}};
  for (const auto& [number, text] : numbers) {
    Conversation talk;
    talk.backend.report.average_utilization_pct = number;
    talk.Run(Line("rebalance_check", 1));
    EXPECT_THAT(talk.replies[0],
                HasSubstr(absl::StrCat("\"average_utilization_pct\":", text, ",")));
  }
}

TEST(ConversationTest, StoredTextThatIsNoJsonIsReadAsAString) {
  Conversation talk;
  talk.backend.values = {{"plain", "hello \"you\""}, {"bytes", "a\xff"}, {"json", " [1, 2] "}};
  talk.Feed(Line("read", 1, R"("key":"plain")"));
  talk.Feed(Line("read", 2, R"("key":"bytes")"));
  talk.Feed(Line("read", 3, R"("key":"json")"));
  EXPECT_THAT(talk.replies, ElementsAre(Ok("read", 1, 0, R"("value":"hello \"you\"")"),
                                        Ok("read", 2, 1, R"("value":"a?")"),
                                        Ok("read", 3, 2, R"("value":[1,2])")));
}

TEST(ConversationTest, AValueOverSixteenMebibytesIsRefusedAndTheNextLineIsRead) {
  Conversation talk;
  const std::string big(MiB(17), 'x');
  talk.Feed(absl::StrCat(R"({"src":"c1","dest":"n1","body":{"type":"write","key":"k","value":")",
                         big, R"(","msg_id":1}})", "\n", Line("read", 2, R"("key":"k")")));
  EXPECT_THAT(talk.replies, ElementsAre(Error(1, 0, 12, "the value is longer than 16 MiB"),
                                        Error(2, 1, 20, "no key 'k'")));
}

TEST(ConversationTest, TooManyValuesInOneMessageAreRefused) {
  Conversation talk;
  std::string ones = "1";
  for (int i = 0; i < 1 << 19; ++i) {
    ones += ",1";
  }
  talk.Run(Line("set_config", 1, absl::StrCat(R"("version":1,"shards":[)", ones, "]")));
  EXPECT_THAT(talk.replies, ElementsAre(Error(1, 0, 12, "more than 524288 values in one message")));
}

TEST(ConversationTest, PiecesOfTheInputDoNotMatter) {
  std::string input = kInit;
  for (int i = 2; i < 60; ++i) {
    input += i % 7 == 0 ? "garbage {\n" : i % 5 == 0 ? "{\"a\":\n" : "\n";
    input += Line(i % 2 == 0 ? "read" : "write", i, R"("key":"k","value":"é")");
  }
  Conversation whole;
  whole.Run(input);
  EXPECT_THAT(whole.replies, SizeIs(59));
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    Conversation pieces;
    pieces.RunInPieces(input, rng);
    EXPECT_EQ(pieces.replies, whole.replies);
    EXPECT_EQ(pieces.problems, whole.problems);
  }
}

}  // namespace
}  // namespace ballast::gateway
