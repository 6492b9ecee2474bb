// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "common/routing/hash_ring.h"

namespace ballast {

// The ring of the moment, read by many threads while another replaces it.
//
// Readers are wait-free: two atomic additions, whatever the writer does ("left-right", Ramalhete
// and Correia 2015). A writer waits until nobody reads the ring that it frees, so readers should be
// brief. A reader sees either the ring before a change or the one after, whole.
//
// Concurrency: thread-safe. Lifetime: outlives its readers.
class SharedRing {
 public:
  SharedRing() : SharedRing(HashRing()) {}
  explicit SharedRing(HashRing ring) : rings_{std::make_shared<const HashRing>(std::move(ring))} {
    rings_[1] = rings_[0];
  }
  SharedRing(const SharedRing&) = delete;
  SharedRing& operator=(const SharedRing&) = delete;

  // A look into the ring of the moment, which lives as long as this does. Make it where it is used
  // and let it go soon: Replace waits for it.
  class Reader {
   public:
    explicit Reader(const SharedRing& shared)
        : arrivals_(shared.arrivals_[shared.epoch_.load()].count) {
      arrivals_.fetch_add(1);
      ring_ = shared.rings_[shared.current_.load()].get();
    }
    ~Reader() { arrivals_.fetch_sub(1); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    const HashRing& operator*() const { return *ring_; }
    const HashRing* operator->() const { return ring_; }

   private:
    std::atomic<int64_t>& arrivals_;
    const HashRing* ring_;
  };

  // Every Reader made after its return sees `ring`. Blocks until readers of the former are gone.
  // Writers take turns.
  void Replace(HashRing ring);

 private:
  struct alignas(64) Arrivals {  // a cache line each
    std::atomic<int64_t> count{0};
  };
  void AwaitNoReaders(int epoch) const;

  std::atomic<bool> writing_{false};
  // Not guarded: readers use rings_[current_], the writer changes the other one only while no
  // reader can see it.
  std::shared_ptr<const HashRing> rings_[2];
  std::atomic<int> current_{0};  // which ring to read
  std::atomic<int> epoch_{0};    // where to count oneself in
  mutable Arrivals arrivals_[2];
};

}  // namespace ballast
