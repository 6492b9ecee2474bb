// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "common/base/steady_time.h"

namespace ballast::chunkserver {

// Lets so many bytes a second pass. Those who want to move bytes ask for them piece by piece and
// wait until they are granted, in the order in which they asked.
//
// Guarantees: in every window of one second, wherever it begins, at most
// rate * (1 + kCatchUp / 1 s) + the largest piece is granted. With pieces of at most PieceBytes(),
// or of 512 KiB from 20 MB/s on, that is less than rate + 5 %. Who asks in time is held up no
// longer than that takes: what is lost by asking late is caught up for the last kCatchUp. In a
// window in which the rate is changed the higher rate counts. Concurrency: none; its owner
// serialises. Pure.
class BandwidthLimiter {
 public:
  using Ticket = uint64_t;

  static constexpr absl::Duration kCatchUp = absl::Milliseconds(20);

  // 0: no limit.
  explicit BandwidthLimiter(uint64_t bytes_per_second) : bytes_per_second_(bytes_per_second) {}

  // Holds from now on, for those who wait, too.
  void SetRate(SteadyTime now, uint64_t bytes_per_second);
  uint64_t bytes_per_second() const { return bytes_per_second_; }

  // How much to ask for at once: whole blocks, 64 KiB to 512 KiB.
  uint64_t PieceBytes() const;

  // Joins the queue. Release tells when the bytes are granted.
  Ticket Ask(uint64_t bytes);
  // Leaves the queue; unknown and granted tickets are ignored.
  void Cancel(Ticket ticket);

  // Grants what is due, in order.
  std::vector<Ticket> Release(SteadyTime now);
  // When Release will grant the next; none if nobody waits.
  std::optional<SteadyTime> NextDue() const;

 private:
  absl::Duration TimeFor(uint64_t bytes) const;

  struct Waiting {
    Ticket ticket;
    uint64_t bytes;
  };

  uint64_t bytes_per_second_;
  SteadyTime paid_until_;  // everything granted so far has passed by then
  Ticket next_ticket_ = 1;
  std::deque<Waiting> waiting_;
};

}  // namespace ballast::chunkserver
