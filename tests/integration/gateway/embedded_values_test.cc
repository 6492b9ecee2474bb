// SPDX-License-Identifier: Apache-2.0
// Values, the folder, and what is not offered, on the embedded cluster.
#include <thread>

#include "tests/integration/gateway/embedded_fixture.h"

namespace ballast::gateway::testing {
namespace {

using EmbeddedValuesTest = EmbeddedTest;
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

TEST_F(EmbeddedValuesTest, PoolsAreNotOfferedYet) {
  EXPECT_THAT(backend_->AddServer("a", std::nullopt), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(backend_->RemoveServer("a"), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(backend_->Route("k"), StatusIs(absl::StatusCode::kUnimplemented));
}

TEST_F(EmbeddedValuesTest, ChunksOfImpossibleLengthAreRefusedAtTheStart) {
  options_.chunk_bytes = MiB(64) + 1;
  EXPECT_THAT(EmbeddedBackend::Start(options_), StatusIs(absl::StatusCode::kInvalidArgument));
  options_.chunk_bytes = 0;
  EXPECT_THAT(EmbeddedBackend::Start(options_), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace ballast::gateway::testing
