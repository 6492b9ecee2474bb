// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/config_poller.h"

#include <string>
#include <utility>

#include "common/base/log.h"
#include "common/types/error.h"

namespace ballast::master {
namespace {

constexpr absl::Duration kRetry = absl::Milliseconds(500);

}  // namespace

ConfigPoller::ConfigPoller(Executor& executor, LiveView& view, HeartbeatIntake& intake,
                           Proposer& proposer)
    : executor_(executor), view_(view), intake_(intake), proposer_(proposer) {}

void ConfigPoller::OnConfiguration(const ShardConfig& configuration) {
  pending_.push_back(configuration);
  ProposeNext();
}

void ConfigPoller::OnRegistry(const v1::Registry& registry) {
  for (ServerIndex server : view_.SetRegistry(registry)) {
    intake_.DropServer(server);
  }
}

void ConfigPoller::ProposeNext() {
  while (!pending_.empty() && pending_.front().version <= view_.machine().config_version()) {
    pending_.pop_front();
  }
  if (proposing_ || view_.leader() == nullptr || pending_.empty()) {
    return;
  }
  const ShardConfig& next = pending_.front();
  mlog::Command command;
  mlog::Command::ApplyConfiguration& apply = *command.mutable_apply_configuration();
  apply.set_version(next.version.value());
  for (GroupId owner : next.owners) {
    apply.add_shard_owner(owner.value());
  }
  proposing_ = true;
  proposer_.Propose(std::move(command), [this, version = next.version](
                                            const absl::StatusOr<mlog::Result>& result) {
    proposing_ = false;
    if (view_.machine().config_version() >= version) {
      LogInfo("master.configuration_applied", {{"version", version.value()}});
      ProposeNext();
      return;
    }
    const std::string why = result.ok() ? result->text() : std::string(result.status().message());
    LogWarning("master.configuration_not_applied", {{"version", version.value()}, {"error", why}});
    RetryLater();
  });
}

void ConfigPoller::RetryLater() {
  if (std::exchange(retry_armed_, true)) {
    return;
  }
  executor_.RunAfter(kRetry, [this] {
    retry_armed_ = false;
    ProposeNext();
  });
}

}  // namespace ballast::master
