// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"
#include "protos/master_service.pb.h"

namespace ballast::master {

// What the RPC adapter asks of whoever keeps chunks repaired and servers evenly filled: plans,
// progress and explanations for people, and their few words in it. Meaning and failures are those
// of the calls of the same names in master_service.proto.
//
// Concurrency: on the master's executor, and only while this node leads.
class Maintainer {
 public:
  virtual ~Maintainer() = default;

  virtual v1::GetMaintenanceResponse State(uint32_t moves_shown) = 0;

  // `done` runs on the executor, once, unless the process ends before.
  using PlanDone = absl::AnyInvocable<void(absl::StatusOr<v1::RebalanceState>)>;
  virtual void PlanRebalance(uint32_t moves_shown, PlanDone done) = 0;
  virtual v1::RebalanceState StartRebalance() = 0;
  virtual v1::RebalanceState StopRebalance() = 0;
  virtual void ReleaseLossBreaker() = 0;

  virtual absl::StatusOr<v1::ChunkExplanation> ExplainChunk(ChunkHandle handle) = 0;
  virtual absl::StatusOr<v1::ExplainResponse> ExplainServer(absl::string_view server_id) = 0;
  virtual v1::FsckResponse Fsck(ChunkHandle after) = 0;
  virtual absl::Status PurgeQuarantined(ChunkHandle handle, absl::string_view server_id) = 0;
};

}  // namespace ballast::master
