// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace ballast::bench {

// The ketama rings of libmemcached, asked through its public call memcached_generate_hash(), for
// comparison with ours. Where the library was not there at configuration, Available() is false and
// nothing else may be called. Not thread-safe.
class Ketama {
 public:
  enum class Kind {
    kConsistent,  // MEMCACHED_DISTRIBUTION_CONSISTENT: 100 points a server, the default hash
    kWeighted,    // MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED: 160 points by weight, MD5
  };
  struct Server {
    std::string name;
    uint32_t weight = 1;
  };

  static bool Available();

  // At most 100 servers: the library aborts above. `kConsistent` ignores weights.
  Ketama(Kind kind, const std::vector<Server>& servers);
  ~Ketama();
  Ketama(const Ketama&) = delete;
  Ketama& operator=(const Ketama&) = delete;

  // Index of the key's server in what was given.
  uint32_t Find(absl::string_view key) const;
  // The part of Find that hashes the key, alone.
  static uint32_t HashOnly(Kind kind, absl::string_view key);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ballast::bench
