// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "services/master/control/cluster_pictures.h"
#include "services/master/control/copy_desk.h"
#include "services/master/control/heartbeat_intake.h"
#include "services/master/control/live_view.h"
#include "services/master/control/order_desk.h"
#include "services/master/control/rebalance_loop.h"
#include "services/master/control/repair_loop.h"
#include "services/master/core/copy_view.h"
#include "services/master/core/maintainer.h"

namespace ballast::master {

// Where people ask about maintenance and have their say: puts what the loops know into words.
//
// It decides nothing, and nothing depends on its words. Concurrency, ownership: as RepairLoop.
class MaintenanceDesk final : public Maintainer {
 public:
  MaintenanceDesk(LiveView& view, ClusterPictures& pictures, CopyDesk& copies,
                  HeartbeatIntake& intake, RepairLoop& repair, RebalanceLoop& rebalance)
      : view_(view),
        pictures_(pictures),
        copies_(copies),
        intake_(intake),
        orders_(view, intake),
        repair_(repair),
        rebalance_(rebalance) {}

  // --- Maintainer ---
  v1::GetMaintenanceResponse State(uint32_t moves_shown) override;
  void PlanRebalance(uint32_t moves_shown, PlanDone done) override;
  v1::RebalanceState StartRebalance() override;
  v1::RebalanceState StopRebalance() override;
  void ReleaseLossBreaker() override;
  absl::StatusOr<v1::ChunkExplanation> ExplainChunk(ChunkHandle handle) override;
  absl::StatusOr<v1::ExplainResponse> ExplainServer(absl::string_view server_id) override;
  v1::FsckResponse Fsck(ChunkHandle after) override;
  absl::Status PurgeQuarantined(ChunkHandle handle, absl::string_view server_id) override;

 private:
  std::string NameOf(ServerIndex server) const;
  std::string StandingOf(const ReplicaStanding& replica) const;
  std::string NeedOf(const ChunkPicture& picture);
  std::string HistoryLine(const CopyHistory::Entry& entry) const;
  void ExamineChunk(const ClusterView& servers, const ShardLens& lens, ChunkHandle handle,
                    const ChunkRecord& record, v1::FsckResponse& response) const;
  void ExamineSpecials(ChunkHandle from, ChunkHandle to, v1::FsckResponse& response) const;

  LiveView& view_;
  ClusterPictures& pictures_;
  CopyDesk& copies_;
  HeartbeatIntake& intake_;
  OrderDesk orders_;
  RepairLoop& repair_;
  RebalanceLoop& rebalance_;
};

}  // namespace ballast::master
