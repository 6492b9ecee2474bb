// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "protos/shardctl_log.pb.h"

// Cluster settings: their defaults and the ranges that shardctl_service.proto states. Pure.

namespace ballast::shardctl {

// What a new cluster has.
v1::shardctl_log::Settings DefaultSettings();

// OK if every field is in its range and min_replicas <= default_replicas; otherwise
// INVALID_ARGUMENT, naming the field and its range.
absl::Status ValidateSettings(const v1::shardctl_log::Settings& settings);

// `settings` with the fields that `update` names replaced; not validated.
v1::shardctl_log::Settings MergeSettings(const v1::shardctl_log::Settings& settings,
                                         const v1::shardctl_log::Command::UpdateSettings& update);

}  // namespace ballast::shardctl
