// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/copy_desk.h"

#include <algorithm>
#include <utility>

namespace ballast::master {
namespace {

constexpr uint64_t kBytesPerMb = 1'000'000;
// Copies to one server that together use its rate up: one sends while the other is made durable.
constexpr uint32_t kLanesPerReceiver = 2;

}  // namespace

CopyBudget BudgetOf(CopyPurpose purpose) {
  return purpose == CopyPurpose::kRepair ? CopyBudget::kRepair : CopyBudget::kRebalance;
}

void CopyDesk::SeeTerm() {
  const LeaderState* const leader = view_.leader();
  const RaftTerm term = leader == nullptr ? RaftTerm(0) : leader->term();
  if (std::exchange(term_, term) != term) {
    for (Budget& budget : budgets_) {
      budget = {};
    }
    history_ = {};
  }
}

void CopyDesk::SetLimits(size_t receivers) {
  SeeTerm();
  const v1::Settings& settings = view_.directory().settings();
  const auto lanes =
      static_cast<uint32_t>(std::min<size_t>(receivers * kLanesPerReceiver, CopyLanes::kLanesMax));
  const SteadyTime now = view_.Now();
  Of(CopyBudget::kRepair).lanes.Set(settings.repair_total_mbps() * kBytesPerMb, lanes, now);
  Of(CopyBudget::kRebalance).lanes.Set(settings.rebalance_total_mbps() * kBytesPerMb, lanes, now);
}

std::vector<CopyLoad> CopyDesk::LoadsOf(const ClusterView& view, CopyBudget budget) {
  SeeTerm();
  std::vector<CopyLoad> loads(view.size());
  for (const auto& [server, load] : Of(budget).loads) {
    const int position = view.PositionOf(server);
    if (position >= 0) {
      loads[static_cast<size_t>(position)] = load;
    }
  }
  return loads;
}

std::optional<SteadyTime> CopyDesk::NextFree(CopyBudget budget) {
  SeeTerm();
  return Of(budget).lanes.NextFree(view_.Now());
}

size_t CopyDesk::under_way(CopyBudget budget) {
  SeeTerm();
  return Of(budget).under_way;
}

const CopyHistory& CopyDesk::history() {
  SeeTerm();
  return history_;
}

bool CopyDesk::TryOffer(CopyTask task, uint32_t length_bytes, ServerIndex source, Done done) {
  SeeTerm();
  Budget& budget = Of(BudgetOf(task.purpose));
  const std::optional<uint32_t> share = budget.lanes.TryBegin(length_bytes, view_.Now());
  if (!share.has_value()) {
    return false;
  }
  task.total_share_ppm = *share;
  CopyLoad& incoming = budget.loads[task.target];
  ++incoming.incoming;
  incoming.incoming_bytes += length_bytes;
  ++budget.loads[source].outgoing;
  ++budget.under_way;
  engine_.Offer(task, [this, term = term_, task, length_bytes, source,
                       done = std::move(done)](absl::StatusOr<CopyOutcome> outcome) mutable {
    SeeTerm();
    if (term_ != term) {
      return;
    }
    End(task, length_bytes, source);
    const absl::Status status = outcome.ok() ? outcome->status : outcome.status();
    const uint64_t bytes = outcome.ok() ? outcome->bytes_copied : 0;
    history_.Add({view_.Now(), task, status, bytes});
    done(status, bytes);
  });
  return true;
}

void CopyDesk::End(const CopyTask& task, uint32_t length_bytes, ServerIndex source) {
  Budget& budget = Of(BudgetOf(task.purpose));
  CopyLoad& incoming = budget.loads[task.target];
  --incoming.incoming;
  incoming.incoming_bytes -= length_bytes;
  --budget.loads[source].outgoing;
  --budget.under_way;
  for (const ServerIndex server : {task.target, source}) {
    const auto it = budget.loads.find(server);
    if (it != budget.loads.end() && it->second.incoming == 0 && it->second.outgoing == 0) {
      budget.loads.erase(it);
    }
  }
}

}  // namespace ballast::master
