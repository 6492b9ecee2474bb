// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/group_session.h"

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::chunkserver {
namespace {

constexpr absl::Duration kBackoffMin = absl::Milliseconds(50);
constexpr absl::Duration kBackoffMax = absl::Seconds(2);
// A master that answers nothing for this many intervals, and at least this long, is given up.
constexpr int kSilentIntervalsMax = 3;
constexpr absl::Duration kSilenceMin = absl::Seconds(5);

std::vector<std::string> AddressesOf(const GroupMembers& members) {
  std::vector<std::string> out;
  for (const MasterEndpoint& master : members.masters) {
    out.push_back(master.address);
  }
  return out;
}

// What a stream's first message has said and later ones need not repeat.
void LeaveOutWhatIsKnown(v1::Heartbeat& heartbeat) {
  heartbeat.clear_cluster_id();
  heartbeat.clear_server_id();
  heartbeat.clear_boot_epoch();
  heartbeat.clear_incarnation();
  heartbeat.clear_zone();
  heartbeat.clear_address();
}

bool IsFatal(const absl::Status& status) {
  switch (ReasonOf(status)) {
    case v1::REASON_DUPLICATE_SERVER:
    case v1::REASON_STALE_BOOT:
    case v1::REASON_WRONG_CLUSTER:
      return true;
    default:
      return false;
  }
}

}  // namespace

GroupSession::GroupSession(World& world, uint64_t source, GroupMembers members,
                           std::vector<ShardId> shards)
    : alive_(std::make_shared<GroupSession*>(this)),
      world_(world),
      source_(source),
      members_(std::move(members)),
      shards_(shards.begin(), shards.end()),
      reporter_(world.store.AddReporter()),
      route_(AddressesOf(members_)),
      backoff_(kBackoffMin, kBackoffMax, source) {
  Connect();
}

GroupSession::~GroupSession() {
  stream_.reset();
  world_.store.RemoveReporter(reporter_);
  if (tick_timer_.has_value()) {
    world_.executor.Cancel(*tick_timer_);
  }
  if (connect_timer_.has_value()) {
    world_.executor.Cancel(*connect_timer_);
  }
}

void GroupSession::Connect() {
  ++stream_number_;
  lists_started_ = false;
  sent_ = 0;
  answered_ = 0;
  last_answer_ = world_.clock.SteadyNow();
  // Events of a stream may still come when this session is gone.
  const std::weak_ptr<GroupSession*> weak = alive_;
  MasterStreamEvents events;
  events.on_reply = [weak, gate = world_.gate, number = stream_number_](v1::HeartbeatReply reply) {
    gate->Post([weak, number, reply = std::move(reply)] {
      if (const auto self = weak.lock()) {
        (*self)->OnReply(number, reply);
      }
    });
  };
  events.on_end = [weak, gate = world_.gate, number = stream_number_](absl::Status status) {
    gate->Post([weak, number, status = std::move(status)] {
      if (const auto self = weak.lock()) {
        (*self)->OnEnd(number, status);
      }
    });
  };
  stream_ = world_.streams.Open(route_.current(), std::move(events));
  Tick();
}

void GroupSession::Tick() {
  if (tick_timer_.has_value()) {
    world_.executor.Cancel(*tick_timer_);
  }
  const absl::Duration interval = world_.interval();
  const absl::Duration silence_max = std::max(interval * kSilentIntervalsMax, kSilenceMin);
  if (world_.clock.SteadyNow() - last_answer_ > silence_max) {
    Reconnect(absl::DeadlineExceededError("the master answers nothing"));
    return;
  }
  Report(/*is_heartbeat=*/true);
  tick_timer_ = world_.executor.RunAfter(interval, [this] {
    tick_timer_.reset();
    Tick();
  });
}

void GroupSession::OnIntervalChanged() {
  if (tick_timer_.has_value()) {
    // By the interval that held until now perhaps nothing was due for long: that is no silence.
    last_answer_ = world_.clock.SteadyNow();
    Tick();
  }
}

void GroupSession::Report(bool is_heartbeat) {
  const bool serving = world_.store.serving();
  if (serving && !lists_started_) {
    lists_started_ = true;
    const std::vector<ShardId> shards(shards_.begin(), shards_.end());
    world_.store.StartReports(reporter_, shards);
  }
  // Reports wait for answers; the heartbeat itself does not.
  const bool may_report = serving && sent_ - answered_ < kUnansweredMax;
  if (!is_heartbeat && !may_report) {
    return;
  }
  v1::Heartbeat heartbeat = world_.make_heartbeat();
  if (sent_ > 0) {
    LeaveOutWhatIsKnown(heartbeat);
  }
  heartbeat.set_sequence(++sequence_);
  if (may_report) {
    world_.store.BuildReports(reporter_, kReportPageChunksMax, kShardsPerReportMax, is_heartbeat,
                              heartbeat.mutable_shards());
    for (v1::CommandResult& result : results_) {
      *heartbeat.add_results() = std::move(result);
    }
    results_.clear();
  }
  if (lists_started_) {
    if (const auto told = world_.store.AllTold(reporter_)) {
      heartbeat.set_lists_digest(told->digest);
      heartbeat.set_lists_replica_count(told->count);
    }
  }
  ++sent_;
  stream_->Send(std::move(heartbeat));
  if (may_report && world_.store.HasNews(reporter_)) {
    Report(/*is_heartbeat=*/false);  // the next page; ends at kUnansweredMax
  }
}

void GroupSession::OnNews() {
  if (stream_ != nullptr && !stopping_ && world_.store.serving() &&
      (!lists_started_ || !results_.empty() || world_.store.HasNews(reporter_))) {
    Report(/*is_heartbeat=*/false);
  }
}

void GroupSession::AddResult(v1::CommandResult result) {
  if (results_.size() < kResultsMax) {
    results_.push_back(std::move(result));
  }
  OnNews();
}

void GroupSession::OnReply(uint64_t stream_number, const v1::HeartbeatReply& reply) {
  if (stream_number != stream_number_ || stream_ == nullptr) {
    return;
  }
  last_answer_ = world_.clock.SteadyNow();
  route_.OnSuccess();
  backoff_.Reset();
  if (reply.sequence() != 0) {
    answered_ = std::min(answered_ + 1, sent_);
  }
  if (lists_started_) {
    world_.store.AnswerReports(reporter_, reply);
  }
  world_.on_commands(source_, reply);
  OnNews();
}

void GroupSession::OnEnd(uint64_t stream_number, const absl::Status& status) {
  if (stream_number != stream_number_ || stream_ == nullptr || stopping_) {
    return;
  }
  if (IsFatal(status)) {
    world_.on_fatal(status);
    return;
  }
  if (ReasonOf(status) == v1::REASON_UNKNOWN_SERVER) {
    world_.on_unknown_server();
  }
  Reconnect(status.ok() ? absl::UnavailableError("the master ended the stream") : status);
}

void GroupSession::Reconnect(const absl::Status& why) {
  const std::string address = route_.current();
  if (answered_ > 0 || ReasonOf(why) == v1::REASON_WRONG_CLUSTER) {
    LogWarning("group_session.lost", {{"group", members_.group.value()},
                                      {"master", address},
                                      {"error", std::string(why.message())}});
  }
  stream_.reset();
  results_.clear();  // they belong to a stream that is gone; what is still wanted is ordered again
  if (tick_timer_.has_value()) {
    world_.executor.Cancel(*tick_timer_);
    tick_timer_.reset();
  }
  if (route_.OnFailure(why)) {
    Connect();
    return;
  }
  connect_timer_ = world_.executor.RunAfter(backoff_.Next(why), [this] {
    connect_timer_.reset();
    Connect();
  });
}

void GroupSession::SetShards(const std::vector<ShardId>& shards) {
  absl::btree_set<ShardId> wanted(shards.begin(), shards.end());
  std::vector<ShardId> added;
  std::vector<ShardId> removed;
  std::set_difference(wanted.begin(), wanted.end(), shards_.begin(), shards_.end(),
                      std::back_inserter(added));
  std::set_difference(shards_.begin(), shards_.end(), wanted.begin(), wanted.end(),
                      std::back_inserter(removed));
  world_.store.StopReports(reporter_, removed);  // also what an earlier stream told
  if (lists_started_) {
    world_.store.StartReports(reporter_, added);
  }
  shards_ = std::move(wanted);
  OnNews();
}

void GroupSession::SayStopping() {
  stopping_ = true;
  if (tick_timer_.has_value()) {
    world_.executor.Cancel(*tick_timer_);
    tick_timer_.reset();
  }
  if (connect_timer_.has_value()) {
    world_.executor.Cancel(*connect_timer_);
    connect_timer_.reset();
  }
  if (stream_ != nullptr) {
    Report(/*is_heartbeat=*/true);
    stream_->CloseSends();
  }
}

}  // namespace ballast::chunkserver
