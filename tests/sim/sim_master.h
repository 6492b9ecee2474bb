// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "services/master/control/config_poller.h"
#include "services/master/control/copy_engine.h"
#include "services/master/control/expiry_loop.h"
#include "services/master/control/heartbeat_intake.h"
#include "services/master/control/live_view.h"
#include "services/master/control/maintenance_loop.h"
#include "services/master/control/proposer.h"
#include "services/master/control/rebalance_loop.h"
#include "services/master/control/repair_loop.h"
#include "services/master/core/commands.h"
#include "services/master/core/master_machine.h"
#include "services/master/core/placement_view.h"
#include "tests/sim/chunk_world.h"
#include "tests/sim/group_log.h"
#include "tests/sim/sim_process.h"

namespace ballast::testing {

// One master process: the parts of master::Server put together as there, without gRPC and Raft.
//
// Destroying it is kill -9. Concurrency: one thread; what the parts do happens on the process's
// executor. Ownership: world and log outlive it.
class SimMaster {
 public:
  struct Place {
    std::string name;
    std::string address;
    NetNode node = 0;
    size_t member = 0;
    std::string cluster_id;
    master::RepairLimits repair = {};
  };

  SimMaster(ChunkWorld& world, Place place, GroupLog& log, std::vector<std::string> addresses);
  ~SimMaster();

  SimProcess& process() { return process_; }
  const Place& place() const { return place_; }
  master::MasterMachine& machine() { return machine_; }
  master::LiveView& view() { return view_; }
  bool leads() { return view_.leader() != nullptr; }

  // A client's call has arrived; `reply` runs in this process.
  void Handle(MasterRequest request, MasterReply reply);
  // Somebody wants a copy or a move, if this process believes that it leads. `done`: how it ended.
  void OfferCopy(const master::CopyTask& task, std::function<void(const absl::Status&)> done);
  // An operator starts or stops rebalancing, if this process believes that it leads.
  void AskRebalance(bool start);

 private:
  void OnRole(const ReplicatedLog::State& state);
  void WatchShardctl();
  absl::Status CheckLeading() const;
  using Complete = std::function<absl::Status(MasterAnswer&)>;
  void Mutate(master::mlog::Command command, MasterReply reply, Complete complete = nullptr);
  void HandleNow(const MasterRequest& request, MasterReply reply);
  void Begin(const v1::BeginWriteRequest& request, MasterReply reply);
  void Allocate(const v1::AllocateChunksRequest& request, MasterReply reply);
  void Get(const v1::GetObjectRequest& request, MasterReply reply);
  master::CommandContext ContextNow();

  ChunkWorld& world_;
  const Place place_;
  const std::vector<std::string> addresses_;  // of the group's members
  SimProcess process_;
  std::unique_ptr<Executor> executor_;
  master::MasterMachine machine_;
  master::LiveView view_;
  master::Proposer proposer_;
  master::HeartbeatIntake intake_;
  master::ConfigPoller poller_;
  master::CopyEngine copies_;
  master::ClusterPictures pictures_;
  master::CopyDesk copy_desk_;
  master::RepairLoop repair_;
  master::RebalanceLoop rebalance_;
  master::MaintenanceLoop maintenance_;
  master::ExpiryLoop expiry_;
  std::unique_ptr<ReplicatedLog> log_;
  uint64_t registry_version_ = 0;
  bool configured_ = false;
};

}  // namespace ballast::testing
