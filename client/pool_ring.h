// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "common/routing/hash_ring.h"
#include "protos/pool_service.pb.h"

namespace ballast::client {

// The ring of a pool as clients build it: docs/protocols/hash_ring.md. Fails as HashRing::Make.
absl::StatusOr<HashRing> RingOf(const v1::Pool& pool);

}  // namespace ballast::client
