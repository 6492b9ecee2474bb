// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/chunkserver/control/bandwidth_gate.h"

namespace ballast::chunkserver {

// Several gates one after the other, for bytes that are under several limits: they pass when all
// gates have let them.
//
// Guarantees: the last gate's limit holds as it does for the gate alone. A gate before it counts
// bytes when it lets them through, though they may wait at a later one: for who asks for one piece
// at a time, a window of one second holds at most one piece more than that gate would alone let
// pass. PieceBytes is half of what the gates ask for, so that this, too, stays within 5 %.
// Concurrency, lifetime: as TrafficGate. A ticket cancelled halfway has used up the gates that it
// has passed.
class GateChain final : public TrafficGate, public std::enable_shared_from_this<GateChain> {
 public:
  // Requires at least one gate.
  static std::shared_ptr<GateChain> Make(std::vector<std::shared_ptr<TrafficGate>> gates);

  uint64_t PieceBytes() const override;
  std::optional<Ticket> Ask(uint64_t bytes, Task granted) override ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel(Ticket ticket) override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Waiting {
    uint64_t bytes = 0;
    Task granted;
    size_t at = 0;  // the gate at which it waits
    Ticket ticket = 0;
  };

  explicit GateChain(std::vector<std::shared_ptr<TrafficGate>> gates) : gates_(std::move(gates)) {}
  // Asks the gates from waiting.at on; true once all have let it through.
  bool PassLocked(Ticket ticket, Waiting& waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnPassed(Ticket ticket) ABSL_LOCKS_EXCLUDED(mu_);

  const std::vector<std::shared_ptr<TrafficGate>> gates_;
  absl::Mutex mu_;  // taken before those of the gates
  Ticket next_ticket_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<Ticket, Waiting> waiting_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::chunkserver
