// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/session_table.h"

#include <vector>

#include "common/types/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/master/core/machine_fixture.h"

namespace ballast::master {
namespace {

using Admission = SessionTable::Admission;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const SessionId kSession(5);

mlog::Request Ask(uint64_t sequence, uint64_t first_incomplete = 1, uint32_t fingerprint = 1) {
  mlog::Request request;
  request.set_session_id(kSession.value());
  request.set_sequence(sequence);
  request.set_first_incomplete(first_incomplete);
  request.set_fingerprint(fingerprint);
  return request;
}

class SessionTableTest : public ::testing::Test {
 protected:
  SessionTableTest() { EXPECT_TRUE(table_.Open(kSession, 100)); }

  // Executes, with the sequence as the generation of the reply.
  void Execute(const mlog::Request& request, uint64_t now_ms = 100) {
    ASSERT_EQ(table_.Admit(request, now_ms).admission, Admission::kExecute);
    mlog::Result result;
    result.set_generation(request.sequence());
    table_.Record(request, result);
  }

  SessionTable table_;
};

TEST_F(SessionTableTest, ARetryGetsTheFirstReplyInAnyOrder) {
  Execute(Ask(2));
  Execute(Ask(1));
  for (uint64_t sequence : {1, 2, 1}) {
    const SessionTable::Verdict verdict = table_.Admit(Ask(sequence), 100);
    EXPECT_EQ(verdict.admission, Admission::kReplay);
    EXPECT_EQ(verdict.result.generation(), sequence);
  }
}

TEST_F(SessionTableTest, KeepsARefusalAsAReplyToo) {
  ASSERT_EQ(table_.Admit(Ask(1), 100).admission, Admission::kExecute);
  table_.Record(Ask(1), Refusal(v1::REASON_GENERATION_MISMATCH, "no"));
  const SessionTable::Verdict verdict = table_.Admit(Ask(1), 100);
  EXPECT_EQ(verdict.admission, Admission::kReplay);
  EXPECT_THAT(verdict.result, RefusedFor(v1::REASON_GENERATION_MISMATCH));
}

TEST_F(SessionTableTest, AnotherRequestUnderAUsedSequenceIsRefused) {
  Execute(Ask(1, 1, 10));
  EXPECT_THAT(table_.Admit(Ask(1, 1, 11), 100).result, RefusedFor(v1::REASON_REQUEST_REUSED));
  EXPECT_EQ(table_.Admit(Ask(1, 1, 10), 100).admission, Admission::kReplay);
}

TEST_F(SessionTableTest, ForgetsOnlyWhatWasDeclaredReceived) {
  for (uint64_t sequence : {1, 2, 3}) Execute(Ask(sequence));
  Execute(Ask(4, 3));
  EXPECT_THAT(table_.Admit(Ask(2), 100).result, RefusedFor(v1::REASON_SESSION_EXPIRED));
  EXPECT_EQ(table_.Admit(Ask(3), 100).admission, Admission::kReplay);
  // first_incomplete never goes back.
  EXPECT_THAT(table_.Admit(Ask(1, 1), 100).result, RefusedFor(v1::REASON_SESSION_EXPIRED));
}

TEST_F(SessionTableTest, UnknownAndEndedSessionsAreExpired) {
  mlog::Request unknown = Ask(1);
  unknown.set_session_id(6);
  EXPECT_THAT(table_.Admit(unknown, 100).result, RefusedFor(v1::REASON_SESSION_EXPIRED));
  table_.Close(kSession);
  table_.Close(kSession);
  EXPECT_THAT(table_.Admit(Ask(1), 100).result, RefusedFor(v1::REASON_SESSION_EXPIRED));
}

TEST_F(SessionTableTest, RefusesSequenceZeroAndAPromiseBeyondTheSequence) {
  EXPECT_THAT(table_.Admit(Ask(0), 100).result, RefusedFor(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(table_.Admit(Ask(3, 4), 100).result, RefusedFor(v1::REASON_INVALID_ARGUMENT));
  EXPECT_EQ(table_.Admit(Ask(1, 0), 100).admission, Admission::kExecute);
}

TEST_F(SessionTableTest, BoundsTheRepliesOfOneSession) {
  for (uint64_t sequence = 1; sequence <= kSessionRepliesMax; ++sequence) Execute(Ask(sequence));
  const uint64_t next = kSessionRepliesMax + 1;
  EXPECT_THAT(table_.Admit(Ask(next), 100).result, RefusedFor(v1::REASON_OVERLOADED));
  EXPECT_EQ(table_.Admit(Ask(1), 100).admission, Admission::kReplay);
  Execute(Ask(next, 2));
}

TEST_F(SessionTableTest, EndsOnlySessionsThatWereIdleLongEnough) {
  ASSERT_TRUE(table_.Open(SessionId(6), 150));
  Execute(Ask(1), 200);
  EXPECT_THAT(table_.Idle(100, 249, 10), IsEmpty());
  EXPECT_THAT(table_.Idle(100, 250, 10), ElementsAre(SessionId(6)));
  EXPECT_THAT(table_.Idle(100, 300, 10), ElementsAre(SessionId(6), kSession));
  EXPECT_THAT(table_.Idle(100, 300, 1), ElementsAre(SessionId(6)));
  table_.CloseIfIdle(kSession, 100, 299);
  EXPECT_EQ(table_.size(), 2u);
  table_.CloseIfIdle(kSession, 100, 300);
  EXPECT_EQ(table_.size(), 1u);
}

TEST_F(SessionTableTest, TravelsWholeThroughAnImage) {
  Execute(Ask(1));
  Execute(Ask(3, 2), 170);
  ASSERT_TRUE(table_.Open(SessionId(9), 160));
  SessionTable copy;
  std::vector<mlog::Session> sessions;
  table_.Export([&](const mlog::Session& session) { sessions.push_back(session); });
  for (const mlog::Session& session : sessions) ASSERT_TRUE(copy.Import(session));
  EXPECT_EQ(copy.Admit(Ask(3), 170).admission, Admission::kReplay);
  EXPECT_THAT(copy.Admit(Ask(1), 170).result, RefusedFor(v1::REASON_SESSION_EXPIRED));
  EXPECT_THAT(copy.Idle(10, 170, 5), ElementsAre(SessionId(9)));
  EXPECT_FALSE(copy.Import(sessions[0])) << "out of order";
}

}  // namespace
}  // namespace ballast::master
