// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/control/watch_calls.h"

#include "absl/strings/str_cat.h"
#include "common/types/limits.h"

namespace ballast::shardctl {

// --- configurations and the registry -------------------------------------------------------------

bool WatchCalls::HasNews(const v1::WatchRequest& request) const {
  return machine_.current_version().value() > request.after_config_version() ||
         machine_.registry_version() != request.registry_version();
}

absl::StatusOr<v1::WatchResponse> WatchCalls::AnswerTo(const v1::WatchRequest& request) {
  v1::WatchResponse answer;
  answer.set_config_version(machine_.current_version().value());
  size_t bytes = 0;
  for (uint64_t n = request.after_config_version();
       n < machine_.current_version().value() &&
       answer.configurations_size() < limits_.configurations_max &&
       bytes < limits_.configuration_bytes_max;
       ++n) {
    v1::Configuration* configuration = answer.add_configurations();
    *configuration = machine_.FindConfig(ConfigVersion(n + 1))->ToProto();
    bytes += configuration->ByteSizeLong();
  }
  if (machine_.registry_version() != request.registry_version()) {
    if (registry_.version() != machine_.registry_version()) {
      registry_ = machine_.RegistryProto();
    }
    // What does not fit comes with the next call, which is answered at once.
    if (answer.ByteSizeLong() + registry_.ByteSizeLong() + KiB(1) <= kMessageBytesMax) {
      *answer.mutable_registry() = registry_;
    }
  }
  return answer;
}

// --- pools ---------------------------------------------------------------------------------------

bool PoolWatches::HasNews(const v1::WatchPoolRequest& request) const {
  const PoolTable::Pool* const pool = machine_.pools().Find(request.name());
  return pool == nullptr || pool->version() != request.version();
}

absl::StatusOr<v1::WatchPoolResponse> PoolWatches::AnswerTo(const v1::WatchPoolRequest& request) {
  const PoolTable::Pool* const pool = machine_.pools().Find(request.name());
  if (pool == nullptr) {
    return NoPool(request.name());
  }
  v1::WatchPoolResponse answer;
  if (pool->version() != request.version()) {
    *answer.mutable_pool() = ToWire(*pool);
  }
  return answer;
}

// --- the machine ---------------------------------------------------------------------------------

void WatchedMachine::OnChange() {
  calls_.OnChange();
  pools_.OnChange();
}

std::string WatchedMachine::Apply(RaftIndex index, absl::string_view command) {
  std::string result = machine_.Apply(index, command);
  OnChange();
  return result;
}

absl::Status WatchedMachine::RestoreImage(const std::string& name, absl::string_view image) {
  const absl::Status status = machine_.RestoreImage(name, image);
  OnChange();
  return status;
}

void WatchedMachine::Reset() {
  machine_.Reset();
  OnChange();
}

}  // namespace ballast::shardctl
