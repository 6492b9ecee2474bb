// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "services/master/core/maintainer.h"

namespace ballast::master {

// A Maintainer that says which call it was.
class FakeMaintainer final : public Maintainer {
 public:
  v1::GetMaintenanceResponse State(uint32_t moves_shown) override {
    v1::GetMaintenanceResponse response;
    response.set_trims(moves_shown);
    return response;
  }
  void PlanRebalance(uint32_t, PlanDone done) override { done(Named("plan")); }
  v1::RebalanceState StartRebalance() override { return Named("start"); }
  v1::RebalanceState StopRebalance() override { return Named("stop"); }
  void ReleaseLossBreaker() override { ++releases; }
  absl::StatusOr<v1::ChunkExplanation> ExplainChunk(ChunkHandle handle) override {
    v1::ChunkExplanation explanation;
    explanation.set_handle(handle.value());
    return explanation;
  }
  absl::StatusOr<v1::ExplainResponse> ExplainServer(absl::string_view server_id) override {
    v1::ExplainResponse response;
    response.mutable_server()->set_server_id(std::string(server_id));
    return response;
  }
  v1::FsckResponse Fsck(ChunkHandle after) override {
    v1::FsckResponse response;
    response.set_next_after(after.value());
    return response;
  }
  absl::Status PurgeQuarantined(ChunkHandle, absl::string_view) override {
    ++purges;
    return absl::OkStatus();
  }

  int releases = 0;
  int purges = 0;

 private:
  static v1::RebalanceState Named(const std::string& note) {
    v1::RebalanceState state;
    state.set_note(note);
    return state;
  }
};

}  // namespace ballast::master
