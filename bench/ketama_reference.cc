// SPDX-License-Identifier: Apache-2.0
#include "bench/ketama_reference.h"

#include "common/base/check.h"

#ifdef BALLAST_LIBMEMCACHED
#include <libmemcached/memcached.h>

namespace ballast::bench {

struct Ketama::State {
  memcached_st* handle = nullptr;
};

bool Ketama::Available() { return true; }

Ketama::Ketama(Kind kind, const std::vector<Server>& servers) : state_(new State) {
  constexpr uint16_t kPort = 11211;  // part of a server's name; nobody is called
  state_->handle = memcached_create(nullptr);
  CHECK(state_->handle != nullptr);
  for (const Server& server : servers) {
    CHECK_EQ(
        memcached_server_add_with_weight(state_->handle, server.name.c_str(), kPort, server.weight),
        MEMCACHED_SUCCESS);
  }
  const memcached_return_t set =
      kind == Kind::kWeighted
          ? memcached_behavior_set(state_->handle, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1)
          : memcached_behavior_set(state_->handle, MEMCACHED_BEHAVIOR_DISTRIBUTION,
                                   MEMCACHED_DISTRIBUTION_CONSISTENT);
  CHECK_EQ(set, MEMCACHED_SUCCESS);
}

Ketama::~Ketama() { memcached_free(state_->handle); }

uint32_t Ketama::Find(absl::string_view key) const {
  return memcached_generate_hash(state_->handle, key.data(), key.size());
}

uint32_t Ketama::HashOnly(Kind kind, absl::string_view key) {
  return memcached_generate_hash_value(
      key.data(), key.size(),
      kind == Kind::kWeighted ? MEMCACHED_HASH_MD5 : MEMCACHED_HASH_DEFAULT);
}

}  // namespace ballast::bench

#else

namespace ballast::bench {

struct Ketama::State {};

bool Ketama::Available() { return false; }
Ketama::Ketama(Kind, const std::vector<Server>&) { CHECK(Available()); }
Ketama::~Ketama() = default;
uint32_t Ketama::Find(absl::string_view) const {
  CHECK(Available());
  return 0;
}
uint32_t Ketama::HashOnly(Kind, absl::string_view) {
  CHECK(Available());
  return 0;
}

}  // namespace ballast::bench

#endif
