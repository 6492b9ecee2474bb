// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/raft/replicated_log.h"

namespace ballast {

// Reads of one leadership on their way: new -> in the round being confirmed -> confirmed, waiting
// for their index to be applied. One round at a time, so that calls which wait share it. Pure.
class ReadRounds {
 public:
  using Callback = ReplicatedLog::ReadCallback;

  void Add(Callback done) { new_.push_back(std::move(done)); }
  size_t size() const { return new_.size() + round_.size() + confirmed_count_; }

  // True if a round may start: reads wait for one and none is under way.
  bool WantsRound() const { return !new_.empty() && round_.empty(); }

  // The new reads become the round with this number; they may see what `commit` says.
  void StartRound(uint64_t number, uint64_t commit) {
    round_ = std::move(new_);
    new_.clear();
    number_ = number;
    commit_ = commit;
  }
  // Number of the round under way; 0 if none is.
  uint64_t number() const { return round_.empty() ? 0 : number_; }

  // The round is confirmed: this node led when it started.
  void Confirm() {
    confirmed_count_ += round_.size();
    confirmed_.push_back({commit_, std::move(round_)});
    round_.clear();
  }

  // Takes the confirmed reads that may be answered once `applied` is applied.
  std::vector<Callback> TakeServable(uint64_t applied) {
    std::vector<Callback> served;
    while (!confirmed_.empty() && confirmed_.front().first <= applied) {
      for (Callback& done : confirmed_.front().second) {
        served.push_back(std::move(done));
      }
      confirmed_.pop_front();
    }
    confirmed_count_ -= served.size();
    return served;
  }

  // Takes them all, for refusal.
  std::vector<Callback> TakeAll() {
    std::vector<Callback> all = TakeServable(~uint64_t{0});
    for (std::vector<Callback>* some : {&round_, &new_}) {
      for (Callback& done : *some) {
        all.push_back(std::move(done));
      }
      some->clear();
    }
    return all;
  }

 private:
  std::vector<Callback> new_;
  std::vector<Callback> round_;
  uint64_t number_ = 0;
  uint64_t commit_ = 0;
  std::deque<std::pair<uint64_t, std::vector<Callback>>> confirmed_;  // commit index -> reads
  size_t confirmed_count_ = 0;
};

}  // namespace ballast
