// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/expiry_loop.h"

#include <algorithm>
#include <utility>

#include "common/types/limits.h"

namespace ballast::master {

void ExpiryLoop::Start() {
  if (std::exchange(running_, true)) return;
  Arm();
}

void ExpiryLoop::Stop() {
  if (!std::exchange(running_, false)) return;
  executor_.Cancel(timer_);
}

void ExpiryLoop::Arm() {
  timer_ = executor_.RunAfter(options_.tick, [this] {
    if (!running_) return;
    Tick();
    Arm();
  });
}

void ExpiryLoop::Tick() {
  const uint64_t now_ms = proposer_.NowMs();
  if (!proposer_.leading() || outstanding_ > 0) return;
  const uint32_t shard_count = machine_.shard_count();
  uint64_t handles_left = options_.handles_max;
  // Ends with the handles, too, so that the next tick goes on behind: a full circle would begin
  // where this one did, and the first shards could use all handles up for ever.
  for (uint32_t looked = 0;
       looked < shard_count && outstanding_ < options_.commands_max && handles_left > 0; ++looked) {
    const Shard* shard = machine_.FindShard(next_);
    next_ = ShardId((next_.value() + 1) % shard_count);
    if (shard != nullptr && shard->serving()) ProposeFor(*shard, now_ms, handles_left);
  }
}

void ExpiryLoop::ProposeFor(const Shard& shard, uint64_t now_ms, uint64_t& handles_left) {
  mlog::Command command;
  command.set_shard(shard.id().value());
  if (const auto drafts = shard.drafts().Due(now_ms, kExpireMax); !drafts.empty()) {
    mlog::Command expire = command;
    for (DraftId id : drafts) expire.mutable_expire_drafts()->add_draft_ids(id.value());
    Propose(std::move(expire));
  }
  if (shard.doomed().HasDue(now_ms)) {
    const uint64_t handles =
        std::min<uint64_t>({handles_left, shard.doomed().handle_count(), kRemoveDoomedMax});
    handles_left -= handles;
    mlog::Command remove = command;
    remove.mutable_remove_doomed()->set_handles_max(static_cast<uint32_t>(handles));
    Propose(std::move(remove));
  }
  if (const auto idle = shard.sessions().Idle(session_idle_ms_, now_ms, kExpireMax);
      !idle.empty()) {
    mlog::Command expire = command;
    expire.mutable_expire_sessions()->set_idle_ms(session_idle_ms_);
    for (SessionId id : idle) expire.mutable_expire_sessions()->add_session_ids(id.value());
    Propose(std::move(expire));
  }
}

void ExpiryLoop::Propose(mlog::Command command) {
  ++outstanding_;
  proposer_.Propose(std::move(command), [this](const absl::StatusOr<mlog::Result>&) {
    --outstanding_;  // whatever came of it: what is still due is found again
  });
}

}  // namespace ballast::master
