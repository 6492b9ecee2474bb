// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/core/settings.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::shardctl {
namespace {

constexpr uint32_t kDayMs = 24 * 60 * 60 * 1000;

absl::Status InRange(absl::string_view name, uint32_t value, uint32_t low, uint32_t high) {
  if (value < low || value > high) {
    return InvalidArgument(absl::StrCat(name, " is ", low, " to ", high, ", not ", value));
  }
  return absl::OkStatus();
}

}  // namespace

v1::shardctl_log::Settings DefaultSettings() {
  v1::shardctl_log::Settings settings;
  settings.set_default_replicas(kReplicasDefault);
  settings.set_min_replicas(kMinReplicasDefault);
  settings.set_inline_bytes(kInlineBytesDefault);
  settings.set_heartbeat_interval_ms(5'000);
  settings.set_draft_expiry_ms(3'600'000);
  settings.set_grace_ms(600'000);
  settings.set_session_idle_ms(3'600'000);
  settings.set_repair_server_mbps(kRepairServerMbpsDefault);
  settings.set_rebalance_server_mbps(kRebalanceServerMbpsDefault);
  settings.set_rebalance_auto(1);
  settings.set_scrub_days(kScrubDaysDefault);
  return settings;
}

absl::Status ValidateSettings(const v1::shardctl_log::Settings& settings) {
  RETURN_IF_ERROR(InRange("default_replicas", settings.default_replicas(), 1, kReplicasMax));
  RETURN_IF_ERROR(InRange("min_replicas", settings.min_replicas(), 1, kReplicasMax));
  if (settings.min_replicas() > settings.default_replicas()) {
    return InvalidArgument(absl::StrCat("min_replicas (", settings.min_replicas(),
                                        ") is at most default_replicas (",
                                        settings.default_replicas(), ")"));
  }
  RETURN_IF_ERROR(InRange("inline_bytes", settings.inline_bytes(), 0, kInlineBytesMax));
  RETURN_IF_ERROR(InRange("heartbeat_interval_ms", settings.heartbeat_interval_ms(), 100, 60'000));
  RETURN_IF_ERROR(InRange("draft_expiry_ms", settings.draft_expiry_ms(), 1000, kDayMs));
  RETURN_IF_ERROR(InRange("grace_ms", settings.grace_ms(), 0, kDayMs));
  RETURN_IF_ERROR(InRange("session_idle_ms", settings.session_idle_ms(), 1000, kDayMs));
  RETURN_IF_ERROR(InRange("repair_server_mbps", settings.repair_server_mbps(), 0, kMbpsMax));
  RETURN_IF_ERROR(InRange("repair_total_mbps", settings.repair_total_mbps(), 0, kMbpsMax));
  RETURN_IF_ERROR(InRange("rebalance_server_mbps", settings.rebalance_server_mbps(), 0, kMbpsMax));
  RETURN_IF_ERROR(InRange("rebalance_total_mbps", settings.rebalance_total_mbps(), 0, kMbpsMax));
  RETURN_IF_ERROR(InRange("rebalance_auto", settings.rebalance_auto(), 1, 2));
  return InRange("scrub_days", settings.scrub_days(), 1, 365);
}

v1::shardctl_log::Settings MergeSettings(const v1::shardctl_log::Settings& settings,
                                         const v1::shardctl_log::Command::UpdateSettings& update) {
  v1::shardctl_log::Settings merged = settings;
  if (update.has_default_replicas()) merged.set_default_replicas(update.default_replicas());
  if (update.has_min_replicas()) merged.set_min_replicas(update.min_replicas());
  if (update.has_inline_bytes()) merged.set_inline_bytes(update.inline_bytes());
  if (update.has_heartbeat_interval_ms()) {
    merged.set_heartbeat_interval_ms(update.heartbeat_interval_ms());
  }
  if (update.has_draft_expiry_ms()) merged.set_draft_expiry_ms(update.draft_expiry_ms());
  if (update.has_grace_ms()) merged.set_grace_ms(update.grace_ms());
  if (update.has_session_idle_ms()) merged.set_session_idle_ms(update.session_idle_ms());
  if (update.has_repair_server_mbps()) merged.set_repair_server_mbps(update.repair_server_mbps());
  if (update.has_repair_total_mbps()) merged.set_repair_total_mbps(update.repair_total_mbps());
  if (update.has_rebalance_server_mbps()) {
    merged.set_rebalance_server_mbps(update.rebalance_server_mbps());
  }
  if (update.has_rebalance_total_mbps()) {
    merged.set_rebalance_total_mbps(update.rebalance_total_mbps());
  }
  if (update.has_rebalance_auto()) merged.set_rebalance_auto(update.rebalance_auto());
  if (update.has_scrub_days()) merged.set_scrub_days(update.scrub_days());
  // A cluster older than these settings.
  if (merged.rebalance_auto() == 0) merged.set_rebalance_auto(1);
  if (merged.scrub_days() == 0) merged.set_scrub_days(kScrubDaysDefault);
  return merged;
}

}  // namespace ballast::shardctl
