// SPDX-License-Identifier: Apache-2.0
#include "common/raft/craft_shim.h"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

using Message = ballast_craft_message;
using Meta = ballast_craft_meta;
using Update = ballast_craft_update;

constexpr uint64_t kElectionMs = 1000;

struct Destroy {
  void operator()(ballast_craft* craft) const { ballast_craft_destroy(craft); }
};

// One instance with its updates; keeps the messages of the last one.
class Node {
 public:
  Node(uint64_t id, size_t voters, uint32_t seed = 1) {
    ballast_craft_config config = {};
    config.id = id;
    config.voter_count = voters;
    for (size_t i = 0; i < voters; ++i) {
      config.voters[i] = i + 1;
    }
    config.seed = seed + static_cast<uint32_t>(id);
    config.election_timeout_ms = kElectionMs;
    config.heartbeat_timeout_ms = 100;
    config.install_timeout_ms = 30000;
    config.inflight_entries_max = 64;
    craft_.reset(ballast_craft_create(&config));
  }

  // Entries 1 .. terms.size(); the first is the configuration.
  int Start(uint64_t now, uint64_t term, const std::vector<uint64_t>& terms, uint64_t vote = 0) {
    std::vector<Meta> metas;
    for (const uint64_t t : terms) {
      metas.push_back(
          {t, static_cast<uint8_t>(metas.empty() ? BALLAST_CRAFT_CHANGE : BALLAST_CRAFT_COMMAND)});
    }
    return Took(
        ballast_craft_start(get(), now, term, vote, 0, 0, 1, metas.data(), metas.size(), &update));
  }
  int StartAt(uint64_t now, uint64_t term, uint64_t snapshot, uint64_t snapshot_term,
              uint64_t start, const std::vector<Meta>& metas) {
    return Took(ballast_craft_start(get(), now, term, 0, snapshot, snapshot_term, start,
                                    metas.data(), metas.size(), &update));
  }
  int Receive(uint64_t now, Message message, uint64_t from, const std::vector<Meta>& metas = {}) {
    message.peer = from;
    return Took(ballast_craft_receive(get(), now, &message, metas.data(), &update));
  }
  int Submit(uint64_t now, uint32_t count) {
    return Took(ballast_craft_submit(get(), now, count, &update));
  }
  int Persisted(uint64_t now, uint64_t index) {
    return Took(ballast_craft_persisted(get(), now, index, &update));
  }
  int Timeout(uint64_t now) { return Took(ballast_craft_timeout(get(), now, &update)); }

  std::vector<Message> MessagesTo(uint64_t peer) const {
    std::vector<Message> found;
    for (const Message& m : messages) {
      if (m.peer == peer) {
        found.push_back(m);
      }
    }
    return found;
  }

  ballast_craft* get() { return craft_.get(); }

  Update update = {};
  std::vector<Message> messages;

 private:
  int Took(int result) {
    messages.assign(update.messages, update.messages + update.message_count);
    return result;
  }
  std::unique_ptr<ballast_craft, Destroy> craft_;
};

Message Append(uint64_t term, uint64_t prev, uint64_t prev_term, uint32_t count, uint64_t commit) {
  Message m = {};
  m.type = BALLAST_CRAFT_APPEND;
  m.term = term;
  m.log_index = prev;
  m.log_term = prev_term;
  m.entry_count = count;
  m.extra = commit;
  return m;
}

Message AppendResult(uint64_t term, uint64_t last, uint64_t rejected) {
  Message m = {};
  m.type = BALLAST_CRAFT_APPEND_RESULT;
  m.version = 2;
  m.term = term;
  m.log_index = last;
  m.extra = rejected;
  m.features = 1;
  m.capacity = 0xffff;
  return m;
}

std::vector<Meta> Commands(uint64_t term, size_t count) {
  return std::vector<Meta>(count, Meta{term, BALLAST_CRAFT_COMMAND});
}

// Node 1 of `voters`, leader with `entries` entries of term 1 on disk; its barrier is persisted,
// every other voter has been asked and has answered nothing but votes.
void MakeLeader(Node& node, uint64_t* now, size_t entries, size_t voters) {
  *now = 1000;
  ASSERT_EQ(node.Start(*now, 1, std::vector<uint64_t>(entries, 1)), BALLAST_CRAFT_OK);
  *now = node.update.timeout_ms;
  ASSERT_EQ(node.Timeout(*now), BALLAST_CRAFT_OK);
  ASSERT_EQ(node.update.state, BALLAST_CRAFT_CANDIDATE);
  for (const bool pre_vote : {true, false}) {
    for (uint64_t peer = 2; peer <= voters / 2 + 1; ++peer) {
      Message vote = {};
      vote.type = BALLAST_CRAFT_VOTE_RESULT;
      vote.version = 2;
      vote.term = 2;
      vote.flag_a = true;
      vote.flag_b = pre_vote;
      ASSERT_EQ(node.Receive(*now, vote, peer), BALLAST_CRAFT_OK);
    }
  }
  ASSERT_EQ(node.update.state, BALLAST_CRAFT_LEADER);
  ASSERT_EQ(node.update.term, 2u);
  if (entries > 1) {
    ASSERT_TRUE(node.update.flags & BALLAST_CRAFT_UPDATE_ENTRIES);
    ASSERT_EQ(node.update.entries.source, BALLAST_CRAFT_SOURCE_BARRIER);
    ASSERT_EQ(node.Persisted(*now, entries + 1), BALLAST_CRAFT_OK);
  }
}

TEST(CraftShimTest, RefusesImpossibleConfigurations) {
  ballast_craft_config config = {};
  EXPECT_EQ(ballast_craft_create(&config), nullptr);
  config.id = 3;
  config.voters[0] = 1;
  config.voter_count = 1;
  config.election_timeout_ms = config.heartbeat_timeout_ms = config.install_timeout_ms = 1;
  config.inflight_entries_max = 1;
  EXPECT_EQ(ballast_craft_create(&config), nullptr) << "not a voter";
  config.voters[1] = config.voters[2] = 3;
  config.voter_count = 3;
  EXPECT_EQ(ballast_craft_create(&config), nullptr) << "twice the same voter";
  config.voters[2] = 4;
  ballast_craft* craft = ballast_craft_create(&config);
  EXPECT_NE(craft, nullptr);
  ballast_craft_destroy(craft);
}

TEST(CraftShimTest, BootstrapPayloadIsTheSameOnEveryVoter) {
  Node a(1, 3);
  Node b(2, 3, 99);
  size_t a_bytes = 0;
  size_t b_bytes = 0;
  const void* a_payload = ballast_craft_bootstrap_payload(a.get(), &a_bytes);
  const void* b_payload = ballast_craft_bootstrap_payload(b.get(), &b_bytes);
  ASSERT_EQ(a_bytes, b_bytes);
  ASSERT_GT(a_bytes, 0u);
  EXPECT_EQ(std::memcmp(a_payload, b_payload, a_bytes), 0);
}

TEST(CraftShimTest, LoneVoterLeadsAtOnceAndCommitsWhatItPersisted) {
  Node node(1, 1);
  ASSERT_EQ(node.Start(1000, 1, {1}), BALLAST_CRAFT_OK);
  EXPECT_EQ(node.update.state, BALLAST_CRAFT_LEADER);
  EXPECT_EQ(node.update.commit, 1u);
  EXPECT_TRUE(node.update.flags & BALLAST_CRAFT_UPDATE_STATE);
  EXPECT_TRUE(node.update.flags & BALLAST_CRAFT_UPDATE_COMMIT);
  EXPECT_FALSE(node.update.flags & BALLAST_CRAFT_UPDATE_HARD) << "a lone voter keeps its term";
  EXPECT_EQ(node.update.timeout_ms, 1000 + kElectionMs);

  ASSERT_EQ(node.Submit(1000, 2), BALLAST_CRAFT_OK);
  EXPECT_EQ(node.update.flags, BALLAST_CRAFT_UPDATE_ENTRIES);
  EXPECT_EQ(node.update.entries.first, 2u);
  EXPECT_EQ(node.update.entries.count, 2u);
  EXPECT_EQ(node.update.entries.source, BALLAST_CRAFT_SOURCE_SUBMITTED);
  EXPECT_EQ(node.update.commit, 1u);

  ASSERT_EQ(node.Persisted(1001, 3), BALLAST_CRAFT_OK);
  EXPECT_EQ(node.update.flags, BALLAST_CRAFT_UPDATE_COMMIT);
  EXPECT_EQ(node.update.commit, 3u);

  ASSERT_EQ(node.Timeout(1000 + kElectionMs), BALLAST_CRAFT_OK);
  EXPECT_EQ(node.update.flags, 0u);
  EXPECT_EQ(node.update.state, BALLAST_CRAFT_LEADER);

  ASSERT_EQ(ballast_craft_snapshot_taken(node.get(), 2100, 3, 1, 1, &node.update),
            BALLAST_CRAFT_OK);
  EXPECT_EQ(node.update.flags, 0u);

  Node restarted(1, 1);
  ASSERT_EQ(restarted.StartAt(5000, 2, 3, 1, 3, Commands(1, 1)), BALLAST_CRAFT_OK);
  EXPECT_EQ(restarted.update.state, BALLAST_CRAFT_LEADER);
  EXPECT_EQ(restarted.update.commit, 3u);
}

TEST(CraftShimTest, ThreeVotersElectReplicateAndCommit) {
  Node leader(1, 3);
  uint64_t now = 0;
  MakeLeader(leader, &now, 1, 3);
  Node follower(2, 3);
  ASSERT_EQ(follower.Start(now, 1, {1}), BALLAST_CRAFT_OK);
  ASSERT_EQ(follower.Receive(now, Append(2, 1, 1, 0, 1), 1), BALLAST_CRAFT_OK);
  EXPECT_TRUE(follower.update.flags & BALLAST_CRAFT_UPDATE_HARD);
  EXPECT_EQ(follower.update.leader, 1u);
  ASSERT_EQ(follower.messages.size(), 1u);
  ASSERT_EQ(leader.Receive(now, follower.messages[0], 2), BALLAST_CRAFT_OK);

  ASSERT_EQ(leader.Submit(now, 3), BALLAST_CRAFT_OK);
  const auto sent = leader.MessagesTo(2);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].entry_count, 3u);
  ASSERT_EQ(follower.Receive(now, sent[0], 1, Commands(2, 3)), BALLAST_CRAFT_OK);
  EXPECT_EQ(follower.update.entries.source, BALLAST_CRAFT_SOURCE_RECEIVED);
  EXPECT_EQ(follower.update.entries.first, 2u);
  EXPECT_EQ(follower.update.entries.count, 3u);
  EXPECT_TRUE(follower.messages.empty()) << "nothing is acknowledged before it is durable";
  ASSERT_EQ(follower.Persisted(now, 4), BALLAST_CRAFT_OK);
  ASSERT_EQ(follower.messages.size(), 1u);
  ASSERT_EQ(leader.Receive(now, follower.messages[0], 2), BALLAST_CRAFT_OK);
  EXPECT_EQ(leader.update.commit, 1u) << "one copy of three";
  ASSERT_EQ(leader.Persisted(now, 4), BALLAST_CRAFT_OK);
  EXPECT_EQ(leader.update.commit, 4u);
}

TEST(CraftShimTest, FollowersRefuseSubmitsAndTransfers) {
  Node node(1, 3);
  ASSERT_EQ(node.Start(1000, 1, {1}), BALLAST_CRAFT_OK);
  EXPECT_EQ(node.Submit(1000, 1), BALLAST_CRAFT_NOT_LEADER);
  EXPECT_EQ(ballast_craft_transfer(node.get(), 1000, 2, &node.update), BALLAST_CRAFT_NOT_LEADER);
  EXPECT_EQ(node.update.last, 1u);
}

// F1: on a follower the core reads a candidate's flag from memory that holds a pointer, and by its
// value adopts the term or not.
TEST(CraftShimTest, VoteResultsNeverReachAFollower) {
  for (const bool knows_leader : {false, true}) {
    Node node(1, 3);
    ASSERT_EQ(node.Start(1000, 3, {1}), BALLAST_CRAFT_OK);
    if (knows_leader) {
      ASSERT_EQ(node.Receive(1001, Append(3, 1, 1, 0, 1), 2), BALLAST_CRAFT_OK);
    }
    for (const bool pre_vote : {false, true}) {
      Message vote = {};
      vote.type = BALLAST_CRAFT_VOTE_RESULT;
      vote.version = 2;
      vote.term = 9;
      vote.flag_b = pre_vote;
      ASSERT_EQ(node.Receive(1002, vote, 3), BALLAST_CRAFT_OK);
      EXPECT_EQ(node.update.flags, 0u);
      EXPECT_EQ(node.update.term, 3u);
      EXPECT_EQ(node.update.leader, knows_leader ? 2u : 0u);
    }
  }
}

// F2: the core answers messages of an older term with whatever was on its stack as the last index.
TEST(CraftShimTest, AnswersToOlderTermsAcknowledgeNothing) {
  Node node(2, 5);
  ASSERT_EQ(node.Start(1000, 2, std::vector<uint64_t>(6, 1)), BALLAST_CRAFT_OK);
  Message install = {};
  install.type = BALLAST_CRAFT_INSTALL;
  install.term = 1;
  install.log_index = 100;
  install.log_term = 1;
  install.extra = 1;
  ASSERT_EQ(node.Receive(1001, install, 3), BALLAST_CRAFT_OK);
  ASSERT_EQ(node.messages.size(), 1u);
  EXPECT_EQ(node.messages[0].log_index, 0u);
  const Message late_answer = node.messages[0];

  ASSERT_EQ(node.Receive(1001, Append(1, 0, 0, 0, 0), 3), BALLAST_CRAFT_OK);
  ASSERT_EQ(node.messages.size(), 1u);
  EXPECT_EQ(node.messages[0].log_index, 0u);
  ASSERT_EQ(node.Receive(1001, Append(1, 6, 1, 0, 0), 3), BALLAST_CRAFT_OK);
  ASSERT_EQ(node.messages.size(), 1u);
  EXPECT_EQ(node.messages[0].log_index, 0u);
  EXPECT_EQ(node.messages[0].extra, 6u) << "still a refusal";

  // The answer reaches a leader of exactly that term, whose newest entries two of five hold.
  Node leader(1, 5);
  uint64_t now = 0;
  MakeLeader(leader, &now, 6, 5);
  ASSERT_EQ(leader.Submit(now, 5), BALLAST_CRAFT_OK);
  ASSERT_EQ(leader.Persisted(now, 12), BALLAST_CRAFT_OK);
  ASSERT_EQ(leader.Receive(now, AppendResult(2, 12, 0), 3), BALLAST_CRAFT_OK);
  ASSERT_EQ(leader.update.commit, 1u);
  ASSERT_EQ(late_answer.term, 2u);
  ASSERT_EQ(leader.Receive(now, late_answer, 2), BALLAST_CRAFT_OK);
  EXPECT_EQ(leader.update.commit, 1u);
}

// F3: in probe mode the core believes a late refusal and then sends that follower nothing more.
TEST(CraftShimTest, LateRefusalDoesNotStarveAFollower) {
  Node leader(1, 3);
  uint64_t now = 0;
  MakeLeader(leader, &now, 5, 3);
  ASSERT_EQ(leader.Receive(now, AppendResult(2, 6, 0), 2), BALLAST_CRAFT_OK);
  ASSERT_EQ(leader.Receive(now, AppendResult(2, 6, 0), 3), BALLAST_CRAFT_OK);
  ASSERT_EQ(leader.update.commit, 6u);
  // Follower 2 is silent for a while: demoted to probe mode, next = match + 1 = 7.
  for (int i = 0; i < 5; ++i) {
    now += 300;
    ASSERT_EQ(leader.Timeout(now), BALLAST_CRAFT_OK);
    ASSERT_EQ(leader.Receive(now, AppendResult(2, 6, 0), 3), BALLAST_CRAFT_OK);
  }
  ASSERT_EQ(leader.Receive(now, AppendResult(2, 3, 6), 2), BALLAST_CRAFT_OK);
  ASSERT_EQ(leader.Submit(now, 1), BALLAST_CRAFT_OK);
  bool entry_sent = false;
  for (int i = 0; i < 50 && !entry_sent; ++i) {
    now += 100;
    ASSERT_EQ(leader.Timeout(now), BALLAST_CRAFT_OK);
    for (const Message& m : leader.MessagesTo(2)) {
      EXPECT_GE(m.log_index, 6u) << "below what the follower acknowledged";
      entry_sent = entry_sent || m.entry_count > 0;
    }
    ASSERT_EQ(leader.Receive(now, AppendResult(2, 6, 0), 3), BALLAST_CRAFT_OK);
  }
  EXPECT_TRUE(entry_sent);
}

// F4: what a follower has compacted is committed, so it matches; the core would refuse it and
// send the leader backwards for ever.
TEST(CraftShimTest, EntriesBelowTheSnapshotAreCutNotRefused) {
  Node node(2, 3);
  ASSERT_EQ(node.StartAt(1000, 2, 10, 2, 11, {}), BALLAST_CRAFT_OK);

  ASSERT_EQ(node.Receive(1001, Append(2, 5, 1, 3, 8), 1, Commands(2, 3)), BALLAST_CRAFT_OK);
  ASSERT_EQ(node.messages.size(), 1u);
  EXPECT_EQ(node.messages[0].extra, 0u) << "not a refusal";
  EXPECT_EQ(node.messages[0].log_index, 10u);

  ASSERT_EQ(node.Receive(1002, Append(2, 8, 2, 4, 12), 1, Commands(2, 4)), BALLAST_CRAFT_OK);
  ASSERT_TRUE(node.update.flags & BALLAST_CRAFT_UPDATE_ENTRIES);
  EXPECT_EQ(node.update.entries.first, 11u);
  EXPECT_EQ(node.update.entries.count, 2u);
  EXPECT_EQ(node.update.commit, 12u);
  ASSERT_EQ(node.Persisted(1003, 12), BALLAST_CRAFT_OK);
  ASSERT_EQ(node.messages.size(), 1u);
  EXPECT_EQ(node.messages[0].log_index, 12u);
}

TEST(CraftShimTest, InstallDropsTheLogAndAnswersWhenLoaded) {
  Node node(2, 3);
  ASSERT_EQ(node.Start(1000, 1, std::vector<uint64_t>(4, 1)), BALLAST_CRAFT_OK);
  Message install = {};
  install.type = BALLAST_CRAFT_INSTALL;
  install.term = 2;
  install.log_index = 20;
  install.log_term = 2;
  install.extra = 1;
  ASSERT_EQ(node.Receive(1001, install, 1), BALLAST_CRAFT_OK);
  ASSERT_TRUE(node.update.flags & BALLAST_CRAFT_UPDATE_SNAPSHOT);
  EXPECT_EQ(node.update.snapshot.index, 20u);
  EXPECT_EQ(node.update.snapshot.term, 2u);
  EXPECT_TRUE(node.messages.empty());
  ASSERT_EQ(node.Receive(1002, install, 1), BALLAST_CRAFT_OK);
  EXPECT_FALSE(node.update.flags & BALLAST_CRAFT_UPDATE_SNAPSHOT);
  ASSERT_EQ(ballast_craft_snapshot_installed(node.get(), 1003, 20, 2, &node.update),
            BALLAST_CRAFT_OK);
  EXPECT_EQ(node.update.commit, 20u);
  ASSERT_EQ(node.update.message_count, 1u);
  EXPECT_EQ(node.update.messages[0].log_index, 20u);
}

TEST(CraftShimTest, ImpossibleMessagesAreDropped) {
  Node node(2, 3);
  ASSERT_EQ(node.Start(1000, 2, {1, 1}), BALLAST_CRAFT_OK);
  std::vector<std::pair<Message, std::vector<Meta>>> bad;
  bad.push_back({Append(3, 0, 7, 0, 0), {}});              // no previous entry, yet a term
  bad.push_back({Append(3, 2, 0, 0, 0), {}});              // a previous entry without
  bad.push_back({Append(3, 2, 1, 1, 0), Commands(4, 1)});  // entry of a later term
  bad.push_back({Append(3, 2, 2, 1, 0), Commands(1, 1)});  // terms that decrease
  bad.push_back({Append(3, 2, 1, 1, 0), {{1, BALLAST_CRAFT_CHANGE}}});
  bad.push_back({Append(3, 2, 1, 1, 0), {{1, 77}}});
  bad.push_back({Append(0, 2, 1, 0, 0), {}});
  Message unknown = Append(3, 2, 1, 0, 0);
  unknown.type = 9;
  bad.push_back({unknown, {}});
  for (const auto& [message, metas] : bad) {
    ASSERT_EQ(node.Receive(1001, message, 1, metas), BALLAST_CRAFT_OK);
    EXPECT_EQ(node.update.flags, 0u);
    EXPECT_EQ(node.update.term, 2u);
    EXPECT_TRUE(node.messages.empty());
  }
  ASSERT_EQ(node.Receive(1001, Append(3, 2, 1, 0, 0), 4), BALLAST_CRAFT_OK);
  EXPECT_EQ(node.update.term, 2u) << "a stranger's message";
}

TEST(CraftShimTest, ContradictedCommittedEntriesAreReported) {
  Node node(2, 3);
  ASSERT_EQ(node.Start(1000, 2, {1, 1}), BALLAST_CRAFT_OK);
  ASSERT_EQ(node.Receive(1001, Append(2, 2, 1, 0, 2), 1), BALLAST_CRAFT_OK);
  ASSERT_EQ(node.update.commit, 2u);
  EXPECT_EQ(node.Receive(1002, Append(2, 1, 1, 1, 2), 1, Commands(2, 1)), BALLAST_CRAFT_CONFLICT);
}

}  // namespace
}  // namespace ballast
