// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_options.h"

#include <stdlib.h>

#include "common/base/byte_units.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

CliOptions Parsed(const std::vector<std::string>& arguments) {
  const CliParse parse = ParseCli(arguments);
  EXPECT_TRUE(parse.proceed) << parse.text;
  return parse.options;
}

TEST(CliOptionsTest, PutTakesAFileAKeyAndItsFlags) {
  const CliOptions options =
      Parsed({"put", "f.mkv", "films/f.mkv", "--replicas", "2", "--if-generation-match", "0",
              "--meta", "a=1,2", "--meta", "b=x=y", "--chunk-size", "1MiB", "--parallel", "4"});
  EXPECT_EQ(options.verb, "put");
  EXPECT_EQ(options.file, "f.mkv");
  EXPECT_EQ(options.key, "films/f.mkv");
  EXPECT_EQ(options.replicas, 2u);
  EXPECT_EQ(options.if_generation_match, 0u);
  EXPECT_THAT(options.metadata, ElementsAre(Pair("a", "1,2"), Pair("b", "x=y")));
  EXPECT_EQ(options.chunk_bytes, MiB(1));
  EXPECT_EQ(options.parallel, 4u);
  EXPECT_THAT(options.cluster, ElementsAre("127.0.0.1:7400"));
  EXPECT_EQ(Parsed({"put", "-", "k"}).file, "-");
  EXPECT_EQ(Parsed({"put", "-", "k"}).if_generation_match, std::nullopt);
}

TEST(CliOptionsTest, AKeyMayBeAVerbOrBeginWithADash) {
  EXPECT_EQ(Parsed({"stat", "rm"}).key, "rm");
  EXPECT_EQ(Parsed({"put", "f", "ls"}).key, "ls");
  EXPECT_EQ(Parsed({"stat", "--", "-key"}).key, "-key");
}

TEST(CliOptionsTest, HealthTakesOneAddress) {
  EXPECT_EQ(Parsed({"health", "127.0.0.1:7600"}).address, "127.0.0.1:7600");
  EXPECT_EQ(Parsed({"health", "chunkserver-1:7600"}).address, "chunkserver-1:7600");
  for (const char* address : {"7600", "host", ":", "host:port"}) {
    EXPECT_EQ(ParseCli({"health", address}).exit_code, 2) << address;
  }
  EXPECT_EQ(ParseCli({"health"}).exit_code, 2);
}

TEST(CliOptionsTest, GetNamesItsFileAfterTheKeyUnlessTold) {
  EXPECT_EQ(Parsed({"get", "films/f.mkv"}).file, "f.mkv");
  EXPECT_EQ(Parsed({"get", "films/f.mkv", "-"}).file, "-");
  EXPECT_EQ(Parsed({"get", "films/f.mkv", "other"}).file, "other");
  for (const char* key : {"films/", "a/..", "."}) {
    EXPECT_EQ(ParseCli({"get", key}).exit_code, 2) << key;
  }
}

TEST(CliOptionsTest, CpTakesTwoKeysAndWhatPutHas) {
  const CliOptions options = Parsed({"cp", "a", "b", "--replicas", "2", "--if-generation-match",
                                     "0", "--parallel", "5", "--json"});
  EXPECT_EQ(options.verb, "cp");
  EXPECT_EQ(options.key, "a");
  EXPECT_EQ(options.target_key, "b");
  EXPECT_EQ(options.replicas, 2u);
  EXPECT_EQ(options.if_generation_match, 0u);
  EXPECT_EQ(options.parallel, 5u);
  EXPECT_TRUE(options.json);
  EXPECT_EQ(ParseCli({"cp", "a"}).exit_code, 2);
  EXPECT_EQ(ParseCli({"cp", "a", "b", "--replicas", "6"}).exit_code, 2);
  const CliParse same = ParseCli({"cp", "a", "a"});
  EXPECT_EQ(same.exit_code, 2);
  EXPECT_THAT(same.text, HasSubstr("onto itself"));
}

TEST(CliOptionsTest, ReplicasAreOneToFive) {
  EXPECT_EQ(Parsed({"replicas", "k", "5"}).replicas, 5u);
  EXPECT_EQ(Parsed({"replicas", "k", "1"}).key, "k");
  for (const char* number : {"0", "6", "-1", "two", "", "4294967297"}) {
    EXPECT_EQ(ParseCli({"replicas", "k", number}).exit_code, 2) << number;
  }
  EXPECT_EQ(ParseCli({"replicas", "k"}).exit_code, 2);
}

TEST(CliOptionsTest, RangesIncludeBothEnds) {
  const CliOptions closed = Parsed({"get", "k", "-", "--range", "10-19"});
  EXPECT_EQ(closed.offset_bytes, 10u);
  EXPECT_EQ(closed.length_bytes, 10u);
  EXPECT_FALSE(closed.spread);
  EXPECT_TRUE(Parsed({"get", "k", "-", "--spread"}).spread);
  const CliOptions open = Parsed({"get", "k", "-", "--range", "5-"});
  EXPECT_EQ(open.offset_bytes, 5u);
  EXPECT_EQ(open.length_bytes, std::nullopt);
  const CliOptions parts = Parsed({"get", "k", "-", "--offset", "1MiB", "--length", "64KiB"});
  EXPECT_EQ(parts.offset_bytes, MiB(1));
  EXPECT_EQ(parts.length_bytes, KiB(64));
}

TEST(CliOptionsTest, SettingsShowOrChangeOnlyWhatIsNamed) {
  EXPECT_FALSE(Parsed({"settings"}).changes_settings);
  EXPECT_FALSE(Parsed({"settings", "show"}).changes_settings);
  for (const CliOptions& options :
       {Parsed({"settings", "--min-replicas", "1", "--grace", "10m"}),
        Parsed({"settings", "set", "--min-replicas", "1", "--grace", "10m"})}) {
    EXPECT_TRUE(options.changes_settings);
    EXPECT_EQ(options.settings.min_replicas(), 1u);
    EXPECT_EQ(options.settings.grace_ms(), 600000u);
    EXPECT_FALSE(options.settings.has_default_replicas());
    EXPECT_FALSE(options.settings.has_inline_bytes());
  }
}

TEST(CliOptionsTest, GroupJoinTakesANumberAndItsMasters) {
  const CliOptions options = Parsed({"group", "join", "2", "a:1", "b:2", "c:3"});
  EXPECT_EQ(options.verb, "group join");
  EXPECT_EQ(options.group, 2u);
  EXPECT_THAT(options.addresses, ElementsAre("a:1", "b:2", "c:3"));
  EXPECT_EQ(Parsed({"group", "leave", "2"}).verb, "group leave");
}

TEST(CliOptionsTest, TheClusterComesFromFlagOrEnvironment) {
  ASSERT_EQ(::setenv("BALLAST_CLUSTER", "far:1,near:2", 1), 0);
  EXPECT_THAT(Parsed({"status"}).cluster, ElementsAre("far:1", "near:2"));
  EXPECT_THAT(Parsed({"status", "--cluster", "here:3"}).cluster, ElementsAre("here:3"));
  EXPECT_THAT(Parsed({"--cluster", "here:3", "status"}).cluster, ElementsAre("here:3"));
  ASSERT_EQ(::unsetenv("BALLAST_CLUSTER"), 0);
}

TEST(CliOptionsTest, MisuseIsOneLineAndExitStatusTwo) {
  const std::vector<std::vector<std::string>> cases = {
      {},
      {"dance"},
      {"put"},
      {"put", "file"},
      {"put", "file", "key", "extra"},
      {"put", "file", "key", "--nope"},
      {"put", "file", "key", "--replicas", "6"},
      {"put", "file", "key", "--replicas", "many"},
      {"put", "file", "key", "--meta", "novalue"},
      {"put", "file", "key", "--meta", "=novalue"},
      {"put", "file", "key", "--if-generation-match", "-1"},
      {"put", "file", "key", "--chunk-size", "100"},
      {"put", "file", "key", "--chunk-size", "128MiB"},
      {"put", "file", "key", "--parallel", "0"},
      {"get", "key", "-", "--range", "9-1"},
      {"get", "key", "-", "--range", "x"},
      {"get", "key", "-", "--range", "1"},
      {"get", "key", "-", "--range", "1-2", "--offset", "3"},
      {"get", "key", "-", "--length", "much"},
      {"get", "key", "-", "--json"},
      {"rm"},
      {"rm", "a", "b", "--if-generation-match", "4"},
      {"group", "join", "0", "a:1"},
      {"group", "join", "1", "nowhere"},
      {"group", "join", "1"},
      {"group"},
      {"settings", "--grace", "5"},
      {"settings", "erase"},
      {"settings", "set"},
      {"settings", "show", "--min-replicas", "1"},
      {"status", "--cluster", "nowhere"},
  };
  for (const auto& arguments : cases) {
    const CliParse parse = ParseCli(arguments);
    const std::string shown = ::testing::PrintToString(arguments);
    EXPECT_FALSE(parse.proceed) << shown;
    EXPECT_EQ(parse.exit_code, 2) << shown;
    EXPECT_EQ(parse.text.find('\n'), parse.text.size() - 1) << shown << parse.text;
    EXPECT_THAT(parse.text, HasSubstr("--help")) << shown;
  }
}

TEST(CliOptionsTest, HelpAndVersionSucceed) {
  const CliParse help = ParseCli({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.text, HasSubstr("Examples:"));
  EXPECT_THAT(help.text, HasSubstr("127.0.0.1:7400"));
  EXPECT_THAT(ParseCli({"put", "--help"}).text, HasSubstr("--replicas"));
  EXPECT_THAT(ParseCli({"--version"}).text, HasSubstr("ballast 0."));
}

}  // namespace
}  // namespace ballast::client
