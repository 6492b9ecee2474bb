// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/group_log.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast::testing {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(50);
constexpr absl::Duration kReadPatience = absl::Seconds(2);
constexpr uint64_t kApplySlice = 64;

}  // namespace

class GroupLog::Member final : public ReplicatedLog {
 public:
  Member(GroupLog* group, size_t self, Executor& owner, StateMachine& machine)
      : group_(group),
        self_(self),
        owner_(owner),
        machine_(machine),
        alive_(std::make_shared<Member*>(this)) {
    machine_.Reset();
    if (group_->snapshot_.has_value() && group_->sim_.rng().OneIn(2)) {
      for (const auto& [name, image] : group_->snapshot_->images) {
        CHECK_OK(machine_.RestoreImage(name, image));
      }
      applied_ = group_->snapshot_->applied;
      if (group_->world_.on_restore) {
        group_->world_.on_restore(applied_, machine_);
      }
    }
    state_.applied = RaftIndex(applied_);
    PumpSoon(absl::ZeroDuration());
  }

  ~Member() override {
    if (group_->leader_ == self_ && group_->term_ == state_.term) {
      for (Proposal& proposal : pending_) {
        group_->orphans_.push_back(std::move(proposal.command));
      }
    }
    group_->members_[self_] = nullptr;
  }

  // --- ReplicatedLog ---
  void Propose(std::string command, ProposeCallback done) override {
    if (state_.role != Role::kLeader) {
      Post([done = std::move(done)]() mutable { done(NotLeaderError("")); });
      return;
    }
    const absl::Duration now = group_->sim_.SteadyNow().SinceOrigin();
    const absl::Duration due = now + absl::Microseconds(group_->sim_.rng().Between(200, 6000));
    pending_.push_back({due, std::move(command), std::move(done)});
    if (pending_.size() == 1) {
      CommitSoon(due - now);
    }
  }

  void ReadBarrier(ReadCallback done) override {
    const absl::Duration until = group_->sim_.SteadyNow().SinceOrigin() + kReadPatience;
    AwaitRead(group_->committed(), state_.term, until, std::move(done));
  }

  State state() const override { return state_; }

  void SetRoleObserver(RoleObserver observer) override {
    observer_ = std::move(observer);
    Post([this] { Tell(); });
  }

  void TakeSnapshot(absl::AnyInvocable<void(absl::Status)> done) override {
    Post([this, done = std::move(done)]() mutable {
      group_->TakeSnapshotOf(self_);
      done(absl::OkStatus());
    });
  }

  // --- the group ---
  // Elected in the group's term: leads once it has applied everything before it.
  void OnElected() {
    Post([this, term = group_->term_, all = group_->committed()] {
      if (group_->term_ != term) {
        return;
      }
      StepDown();
      state_.term = term;  // before entries of that term may be applied
      Apply(all);
      state_.role = Role::kLeader;
      state_.leader = NodeId(static_cast<uint32_t>(self_ + 1));
      Tell();
    });
  }
  // Somebody else was elected.
  void OnDeposed(size_t leader, RaftTerm term) {
    Post([this, leader, term] {
      if (term <= state_.term) {
        return;
      }
      StepDown();
      state_.term = term;
      state_.role = Role::kFollower;
      state_.leader = NodeId(static_cast<uint32_t>(leader + 1));
      Tell();
      PumpSoon(absl::ZeroDuration());
    });
  }
  void OnCommitted() {
    const bool leads = group_->leader_ == self_;
    PumpSoon(absl::Milliseconds(leads ? 0 : group_->sim_.rng().Below(100)));
  }
  // What was proposed and is not committed. Its callbacks stay, and hear OUTCOME_UNKNOWN.
  std::deque<std::string> TakePending() {
    std::deque<std::string> commands;
    for (Proposal& proposal : pending_) {
      commands.push_back(std::move(proposal.command));
      unknown_.push_back(std::move(proposal.done));
    }
    pending_.clear();
    return commands;
  }
  const StateMachine& machine() const { return machine_; }
  uint64_t applied() const { return applied_; }
  RaftTerm term() const { return state_.term; }

 private:
  struct Proposal {
    absl::Duration due;
    std::string command;
    ProposeCallback done;
  };

  void Post(Task task) {
    owner_.Post([weak = std::weak_ptr<Member*>(alive_), task = std::move(task)]() mutable {
      if (const auto self = weak.lock()) {
        task();
      }
    });
  }
  // In the world's time: the network and the disks work while this process stands still.
  void CommitSoon(absl::Duration delay) {
    group_->Later(delay, [this, weak = std::weak_ptr<Member*>(alive_)] {
      if (const auto self = weak.lock()) {
        CommitDue();
      }
    });
  }
  void CommitDue() {
    const absl::Duration now = group_->sim_.SteadyNow().SinceOrigin();
    if (group_->leader_ != self_ || group_->term_ != state_.term || pending_.empty()) {
      return;  // it was deposed: the election has decided what becomes of them
    }
    if (!group_->HasMajority(self_)) {
      CommitSoon(absl::Milliseconds(20));
      return;
    }
    while (!pending_.empty() && pending_.front().due <= now) {
      Proposal proposal = std::move(pending_.front());
      pending_.pop_front();
      answers_[group_->committed() + 1] = std::move(proposal.done);
      group_->Commit({state_.term, std::move(proposal.command)});
    }
    if (!pending_.empty()) {
      CommitSoon(pending_.front().due - now);
    }
  }
  void PumpSoon(absl::Duration delay) {
    group_->Later(delay, [this, weak = std::weak_ptr<Member*>(alive_)] {
      if (weak.lock() == nullptr) {
        return;
      }
      Post([this] {
        Apply(std::min(group_->committed(), applied_ + kApplySlice));
        if (applied_ < group_->committed() &&
            group_->entry(applied_ + 1).term <= std::max(state_.term, start_term_)) {
          PumpSoon(absl::Milliseconds(1));
        }
      });
    });
  }
  // Entries of later terms come from a leader that this member has not heard of.
  void Apply(uint64_t up_to) {
    while (applied_ < up_to &&
           group_->entry(applied_ + 1).term <= std::max(state_.term, start_term_)) {
      ++applied_;
      const RaftIndex index(applied_);
      std::string result = machine_.Apply(index, group_->entry(applied_).command);
      state_.applied = state_.committed = state_.last = index;
      const auto it = answers_.find(applied_);
      if (it != answers_.end()) {
        ProposeCallback done = std::move(it->second);
        answers_.erase(it);
        done(Applied{.index = index, .result = std::move(result)});
      }
    }
  }
  void StepDown() {
    for (auto& [index, done] : std::exchange(answers_, {})) {
      unknown_.push_back(std::move(done));
    }
    for (Proposal& proposal : std::exchange(pending_, {})) {
      unknown_.push_back(std::move(proposal.done));
    }
    for (ProposeCallback& done : std::exchange(unknown_, {})) {
      Post([done = std::move(done)]() mutable {
        done(MakeError(v1::REASON_OUTCOME_UNKNOWN, "leadership was lost"));
      });
    }
  }
  void AwaitRead(uint64_t index, RaftTerm term, absl::Duration until, ReadCallback done) {
    const absl::Duration pause = absl::Microseconds(group_->sim_.rng().Between(100, 3000));
    owner_.RunAfter(pause, [this, weak = std::weak_ptr<Member*>(alive_), index, term, until,
                            done = std::move(done)]() mutable {
      if (weak.lock() == nullptr) {
        return;
      }
      if (state_.role != Role::kLeader || state_.term != term ||
          group_->sim_.SteadyNow().SinceOrigin() > until) {
        done(NotLeaderError(""));
      } else if (group_->leader_ == self_ && group_->term_ == term && applied_ >= index &&
                 group_->HasMajority(self_)) {
        done(absl::OkStatus());
      } else {
        AwaitRead(index, term, until, std::move(done));
      }
    });
  }
  void Tell() {
    if (observer_) {
      observer_(state_);
    }
  }

  GroupLog* const group_;
  const size_t self_;
  Executor& owner_;
  StateMachine& machine_;
  const std::shared_ptr<Member*> alive_;
  // What is committed when a member starts it hears from whoever leads then.
  const RaftTerm start_term_ = group_->term_;
  State state_;
  uint64_t applied_ = 0;
  RoleObserver observer_;
  std::deque<Proposal> pending_;
  std::map<uint64_t, ProposeCallback> answers_;  // committed, not applied here
  std::vector<ProposeCallback> unknown_;         // taken from it by an election
};

GroupLog::GroupLog(SimScheduler& sim, size_t members, World world)
    : sim_(sim),
      world_(std::move(world)),
      alive_(std::make_shared<GroupLog*>(this)),
      members_(members),
      patience_(absl::Milliseconds(100)) {
  Later(kTick, [this] { Tick(); });
}

GroupLog::GroupLog(SimScheduler& sim, const GroupLog& other, uint64_t entries, World world)
    : GroupLog(sim, 1, std::move(world)) {
  entries_.assign(other.entries_.begin(),
                  other.entries_.begin() + static_cast<std::ptrdiff_t>(entries));
  term_ = entries_.empty() ? RaftTerm(0) : entries_.back().term;
}

GroupLog::~GroupLog() {
  for (const Member* member : members_) {
    CHECK(member == nullptr) << "a member outlives its group";
  }
}

std::unique_ptr<ReplicatedLog> GroupLog::Open(size_t member, Executor& owner,
                                              StateMachine& machine) {
  CHECK(members_[member] == nullptr);
  auto opened = std::make_unique<Member>(this, member, owner, machine);
  members_[member] = opened.get();
  if (leader_ == member) {
    leader_.reset();  // it has lost its leadership, whatever the others think
  }
  if (leader_.has_value()) {
    opened->OnDeposed(*leader_, term_);
  }
  return opened;
}

void GroupLog::Later(absl::Duration delay, absl::AnyInvocable<void()> task) {
  sim_.At(delay, [weak = std::weak_ptr<GroupLog*>(alive_), task = std::move(task)]() mutable {
    if (const auto self = weak.lock()) {
      task();
    }
  });
}

bool GroupLog::HasMajority(size_t member) const {
  size_t count = 0;
  for (size_t other = 0; other < members_.size(); ++other) {
    count += members_[other] != nullptr && world_.runs(other) &&
                     (other == member || world_.converse(member, other))
                 ? 1
                 : 0;
  }
  return members_[member] != nullptr && world_.runs(member) && 2 * count > members_.size();
}

void GroupLog::Tick() {
  Later(kTick, [this] { Tick(); });
  if (leader_.has_value() && HasMajority(*leader_)) {
    headless_.reset();
    return;
  }
  const absl::Duration now = sim_.SteadyNow().SinceOrigin();
  if (!headless_.has_value()) {
    headless_ = now;
    patience_ = absl::Milliseconds(sim_.rng().Between(100, 1200));
  }
  if (now - *headless_ < patience_) {
    return;
  }
  ForceElection();
}

void GroupLog::ForceElection() {
  std::vector<size_t> able;
  for (size_t member = 0; member < members_.size(); ++member) {
    if (HasMajority(member)) {
      able.push_back(member);
    }
  }
  if (!able.empty()) {
    Elect(able[sim_.rng().Below(able.size())]);
  }
}

void GroupLog::Elect(size_t member) {
  std::deque<std::string> open = std::exchange(orphans_, {});
  const std::optional<size_t> before = leader_;
  if (before.has_value() && members_[*before] != nullptr && members_[*before]->term() == term_) {
    open = members_[*before]->TakePending();
  }
  // What of it had reached the new leader is committed by it, in order; the rest never is.
  open.resize(sim_.rng().Below(open.size() + 1));
  const RaftTerm old_term = term_;
  term_ = term_.Next();
  leader_ = member;
  headless_.reset();
  for (std::string& command : open) {
    Commit({old_term, std::move(command)});
  }
  members_[member]->OnElected();
  for (size_t other = 0; other < members_.size(); ++other) {
    if (other == member || members_[other] == nullptr) {
      continue;
    }
    const absl::Duration most = other == before ? belief_max_ : absl::Milliseconds(200);
    const auto delay = absl::Milliseconds(sim_.rng().Below(absl::ToInt64Milliseconds(most) + 1));
    Later(delay, [this, other, member, term = term_] {
      if (members_[other] != nullptr) {
        members_[other]->OnDeposed(member, term);
      }
    });
  }
}

void GroupLog::RaiseTerm(RaftTerm above) { term_ = std::max(term_, above); }

void GroupLog::Commit(Entry entry) {
  entries_.push_back(std::move(entry));
  world_.on_commit(RaftIndex(committed()), entries_.back());
  for (Member* member : members_) {
    if (member != nullptr) {
      member->OnCommitted();
    }
  }
}

void GroupLog::TakeSnapshotOf(size_t member) {
  if (members_[member] == nullptr) {
    return;
  }
  Snapshot snapshot;
  snapshot.applied = members_[member]->applied();
  for (const std::string& name : members_[member]->machine().ImageNames()) {
    snapshot.images.emplace_back(name, members_[member]->machine().TakeImage(name));
  }
  snapshot_ = std::move(snapshot);
}

}  // namespace ballast::testing
