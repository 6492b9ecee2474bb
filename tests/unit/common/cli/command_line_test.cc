// SPDX-License-Identifier: Apache-2.0
#include "common/cli/command_line.h"

#include <stdlib.h>

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Program {
  CommandLine line{"tool", "A tool.", "BALLAST_TESTTOOL"};
  std::string listen = "127.0.0.1:1";
  uint64_t bytes = 5;
  uint32_t count = 1;
  absl::Duration wait = absl::Seconds(5);
  bool json = false;
  std::vector<std::string> peers;
  std::vector<std::string> notes;
  std::vector<std::string> keys;
  std::string group;

  Program() {
    line.global().Bool("--json", &json, "Print JSON.");
    FlagSet& run = line.Verb("run", "Runs.");
    run.String("--listen", &listen, "Address.");
    run.Bytes("--size-limit", &bytes, "Limit.");
    run.Uint("--count", &count, "Count.");
    run.Duration("--wait", &wait, "Wait.");
    run.Strings("--peers", &peers, "Peers.");
    run.Texts("--note", &notes, "Notes.");
    line.Verb("rm", "Removes.").Positionals("KEY", &keys, "Keys.");
    line.Verb("group join", "Joins.").String("--id", &group, "Group.").Required();
    line.Verb("group leave", "Leaves.").String("--id", &group, "Group.");
  }
};

TEST(CommandLineTest, ReadsFlagsWithUnits) {
  Program p;
  const auto outcome = p.line.Parse({"run", "--listen", "h:2", "--size-limit=64MiB", "--count", "7",
                                     "--wait", "1m30s", "--peers", "a:1,b:2", "--json"});
  ASSERT_TRUE(outcome.proceed) << outcome.text;
  EXPECT_EQ(outcome.verb, "run");
  EXPECT_EQ(p.listen, "h:2");
  EXPECT_EQ(p.bytes, uint64_t{64} << 20);
  EXPECT_EQ(p.count, 7u);
  EXPECT_EQ(p.wait, absl::Seconds(90));
  EXPECT_THAT(p.peers, ElementsAre("a:1", "b:2"));
  EXPECT_TRUE(p.json);
}

TEST(CommandLineTest, TextsKeepTheirCommas) {
  Program p;
  ASSERT_TRUE(p.line.Parse({"run", "--note", "a,b", "--note", "c"}).proceed);
  EXPECT_THAT(p.notes, ElementsAre("a,b", "c"));
}

TEST(CommandLineTest, MisuseIsOneLineAndExitCodeTwo) {
  const std::vector<std::vector<std::string>> cases = {{},
                                                       {"dance"},
                                                       {"run", "--nope"},
                                                       {"run", "--size-limit", "many"},
                                                       {"run", "--size-limit", "99999999TiB"},
                                                       {"run", "--wait", "5"},
                                                       {"run", "--wait", "-5s"},
                                                       {"run", "--count", "-1"},
                                                       {"group"},
                                                       {"group", "join"},
                                                       {"rm"}};
  for (const auto& arguments : cases) {
    Program p;
    const auto outcome = p.line.Parse(arguments);
    EXPECT_FALSE(outcome.proceed) << ::testing::PrintToString(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << ::testing::PrintToString(arguments);
    EXPECT_EQ(std::count(outcome.text.begin(), outcome.text.end(), '\n'), 1) << outcome.text;
    EXPECT_THAT(outcome.text, HasSubstr("tool: "));
  }
}

TEST(CommandLineTest, VerbsMayHaveTwoWords) {
  Program p;
  const auto outcome = p.line.Parse({"group", "join", "--id", "3"});
  ASSERT_TRUE(outcome.proceed) << outcome.text;
  EXPECT_EQ(outcome.verb, "group join");
  EXPECT_EQ(p.group, "3");
}

TEST(CommandLineTest, HelpAndVersionSucceed) {
  {
    Program p;
    const auto outcome = p.line.Parse({"run", "--help"});
    EXPECT_FALSE(outcome.proceed);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.text, HasSubstr("--size-limit"));
  }
  Program p;
  const auto outcome = p.line.Parse({"--version"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.text, HasSubstr(VersionText()));
}

TEST(CommandLineTest, ConfigFileThenEnvironmentFillWhatIsNotGiven) {
  const std::string path = ::testing::TempDir() + "/command_line_test.toml";
  std::ofstream(path) << "[run]\ncount = 9\n";
  setenv("BALLAST_TESTTOOL_LISTEN", "from-env:1", 1);
  setenv("BALLAST_TESTTOOL_COUNT", "4", 1);
  Program p;
  const auto outcome = p.line.Parse({"--config", path, "run", "--wait", "2s"});
  unsetenv("BALLAST_TESTTOOL_LISTEN");
  unsetenv("BALLAST_TESTTOOL_COUNT");
  ASSERT_TRUE(outcome.proceed) << outcome.text;
  EXPECT_EQ(p.count, 9u) << "the file wins over the environment";
  EXPECT_EQ(p.listen, "from-env:1");
  EXPECT_EQ(p.wait, absl::Seconds(2));
}

TEST(CommandLineTest, AFlagMayNameItsVariable) {
  std::vector<std::string> cluster;
  CommandLine line("tool", "A tool.", "BALLAST_TESTTOOL");
  line.global().Strings("--cluster", &cluster, "Addresses.").Environment("BALLAST_OTHER");
  setenv("BALLAST_OTHER", "a:1,b:2", 1);
  setenv("BALLAST_TESTTOOL_CLUSTER", "wrong:1", 1);
  const auto outcome = line.Parse({});
  unsetenv("BALLAST_OTHER");
  unsetenv("BALLAST_TESTTOOL_CLUSTER");
  ASSERT_TRUE(outcome.proceed) << outcome.text;
  EXPECT_THAT(cluster, ElementsAre("a:1", "b:2"));
}

TEST(ParseBytesTest, KnowsUnitsAndBounds) {
  uint64_t bytes = 0;
  EXPECT_TRUE(ParseBytes("4096", &bytes) && bytes == 4096);
  EXPECT_TRUE(ParseBytes("1.5GiB", &bytes) && bytes == (uint64_t{3} << 29));
  EXPECT_TRUE(ParseBytes("10GB", &bytes) && bytes == 10000000000u);
  for (const char* bad : {"", "MiB", "1 MiB", "-1", "1XB", "20000000TiB", "1.2.3", "nan"}) {
    EXPECT_FALSE(ParseBytes(bad, &bytes)) << bad;
  }
}

}  // namespace
}  // namespace ballast
