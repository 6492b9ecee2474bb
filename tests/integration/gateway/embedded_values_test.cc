// SPDX-License-Identifier: Apache-2.0
// Values, routes and the folder of the embedded cluster.
#include <thread>

#include "common/routing/hash_ring.h"
#include "common/routing/shard_router.h"
#include "tests/integration/gateway/embedded_fixture.h"

namespace ballast::gateway::testing {
namespace {

using EmbeddedValuesTest = EmbeddedTest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(EmbeddedValuesTest, AValueIsReadAsItWasWritten) {
  EXPECT_THAT(backend_->Read("x"), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(backend_->Write("x", "1"));
  EXPECT_THAT(backend_->Read("x"), IsOkAndHolds("1"));
  ASSERT_OK(backend_->Write("x", ""));
  EXPECT_THAT(backend_->Read("x"), IsOkAndHolds(""));
}

TEST_F(EmbeddedValuesTest, CompareAndSetChangesOnlyTheValueThatWasMeant) {
  EXPECT_THAT(backend_->CompareAndSet("x", "1", "2"), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(backend_->Write("x", "1"));
  EXPECT_THAT(backend_->CompareAndSet("x", "0", "2"),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_OK(backend_->CompareAndSet("x", "1", "2"));
  EXPECT_THAT(backend_->Read("x"), IsOkAndHolds("2"));
}

TEST_F(EmbeddedValuesTest, TwoThatCountAtOnceMissNothing) {
  // More than the contract asks (one call at a time), so that swaps meet in the middle.
  ASSERT_OK(backend_->Write("n", "0"));
  const auto count = [&] {
    for (int done = 0; done < 20;) {
      const auto value = backend_->Read("n");
      ASSERT_OK(value);
      const std::string next = std::to_string(std::stoi(*value) + 1);
      done += backend_->CompareAndSet("n", *value, next).ok() ? 1 : 0;
    }
  };
  std::thread one(count);
  std::thread two(count);
  one.join();
  two.join();
  EXPECT_THAT(backend_->Read("n"), IsOkAndHolds("40"));
}

TEST_F(EmbeddedValuesTest, ALongValueIsRefusedWithTheLimit) {
  EXPECT_OK(backend_->Write("x", std::string(KiB(64), 'x')));
  const absl::Status status = backend_->Write("x", std::string(KiB(64) + 1, 'y'));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(std::string(status.message()), HasSubstr("65536"));
  EXPECT_THAT(backend_->Read("x"), IsOkAndHolds(std::string(KiB(64), 'x')));
}

TEST_F(EmbeddedValuesTest, AKeyNeverMeetsAChunksName) {
  ASSERT_OK(Beat("cs1", {"x"}));
  EXPECT_THAT(backend_->Read("x"), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(backend_->Write("x", "1"));
  EXPECT_EQ(Row("cs1").chunk_count, 1u);
  const std::string taken = "\xF4\x8F\xBF\xBF=x";
  EXPECT_THAT(backend_->Read(taken), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(backend_->Write(taken, "1"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(EmbeddedValuesTest, AKeyThatNoClusterTakesIsTheCallersMistake) {
  EXPECT_THAT(backend_->Write(std::string("a\0b", 3), "1"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(backend_->Read(std::string(1025, 'k')), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_OK(backend_->Write(std::string(1024, 'k'), "1"));
}

TEST_F(EmbeddedValuesTest, NothingIsLeftInTheFolderAfterTheEnd) {
  ASSERT_OK(backend_->Write("x", "1"));
  EXPECT_FALSE(std::filesystem::is_empty(options_.folder));
  backend_.reset();
  EXPECT_TRUE(std::filesystem::is_empty(options_.folder));
}

TEST_F(EmbeddedValuesTest, KeysAreRoutedAsTheLibraryRoutesThem) {
  EXPECT_THAT(backend_->Route("k"), IsOkAndHolds(::testing::IsEmpty()));
  EXPECT_THAT(backend_->RemoveServer("a"), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(backend_->AddServer("b", 2.0).status());
  ASSERT_OK(backend_->AddServer("c", std::nullopt).status());
  EXPECT_THAT(backend_->AddServer("a", std::nullopt), IsOkAndHolds(ElementsAre("a", "b", "c")));
  EXPECT_THAT(backend_->AddServer("b", std::nullopt),  // it keeps its weight
              IsOkAndHolds(ElementsAre("a", "b", "c")));
  const auto expect = [&](const HashRing& ring) {
    for (int i = 0; i < 200; ++i) {
      const std::string key = absl::StrCat("key", i);
      std::vector<std::string> servers;
      for (const uint32_t server : ring.Successors(StableHash(key), 9)) {
        servers.push_back(ring.servers()[server].id);
      }
      EXPECT_THAT(backend_->Route(key), IsOkAndHolds(servers)) << key;
    }
  };
  expect(*HashRing::Make({{"a", 1024}, {"b", 2048}, {"c", 1024}}));
  EXPECT_THAT(backend_->RemoveServer("b"), IsOkAndHolds(ElementsAre("a", "c")));
  expect(*HashRing::Make({{"a", 1024}, {"c", 1024}}));
  EXPECT_THAT(backend_->RemoveServer("b"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(backend_->AddServer("d", 1001), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(backend_->AddServer("", std::nullopt), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(EmbeddedValuesTest, AGroupThatCouldNotStartIsBegunAnewByTheNextConfiguration) {
  // What a try leaves that failed halfway, say on a full disk.
  const auto scratch = *std::filesystem::directory_iterator(options_.folder);
  ASSERT_OK(PosixFileSystem().CreateDir((scratch.path() / "group1").string()));
  ASSERT_OK(WriteFileAtomically(PosixFileSystem(), (scratch.path() / "group1" / "half").string(),
                                "of a group"));
  EXPECT_FALSE(backend_->SetConfig({1, {0}}).ok());
  EXPECT_OK(backend_->SetConfig({1, {0}}));
}

TEST_F(EmbeddedValuesTest, ChunksOfImpossibleLengthAreRefusedAtTheStart) {
  options_.chunk_bytes = MiB(64) + 1;
  EXPECT_THAT(EmbeddedBackend::Start(options_), StatusIs(absl::StatusCode::kInvalidArgument));
  options_.chunk_bytes = 0;
  EXPECT_THAT(EmbeddedBackend::Start(options_), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace ballast::gateway::testing
