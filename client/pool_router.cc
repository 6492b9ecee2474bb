// SPDX-License-Identifier: Apache-2.0
#include "client/pool_router.h"

#include <utility>

#include "absl/time/time.h"
#include "client/pool_ring.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/routing/shard_router.h"

namespace ballast::client {
namespace {

constexpr uint32_t kWaitMs = 20'000;
constexpr absl::Duration kPauseAfterFailure = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<PoolRouter>> PoolRouter::Start(ShardctlClientOptions options,
                                                              std::string pool) {
  auto router = std::unique_ptr<PoolRouter>(new PoolRouter(std::move(options), std::move(pool)));
  RETURN_IF_ERROR(router->Follow(/*wait_ms=*/0));
  router->thread_ = std::thread([self = router.get()] { self->Run(); });
  return router;
}

PoolRouter::~PoolRouter() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  controller_.Shutdown();
  if (thread_.joinable()) {
    thread_.join();
  }
}

absl::Status PoolRouter::Follow(uint32_t wait_ms) {
  v1::WatchPoolRequest request;
  request.set_name(pool_);
  request.set_version(version_);
  request.set_wait_ms(wait_ms);
  ASSIGN_OR_RETURN(const v1::WatchPoolResponse news, controller_.WatchPool(request));
  if (news.has_pool()) {
    ASSIGN_OR_RETURN(HashRing ring, RingOf(news.pool()));
    ring_.Replace(std::move(ring));
    version_ = news.pool().version();
  }
  return absl::OkStatus();
}

void PoolRouter::Run() {
  bool failing = false;
  while (true) {
    const absl::Status status = Follow(kWaitMs);
    absl::MutexLock lock(&mu_);
    if (stop_) {
      return;
    }
    if (!status.ok()) {
      if (!std::exchange(failing, true)) {  // once an outage
        LogWarning("pool_router.stale",
                   {{"pool", pool_}, {"error", std::string(status.message())}});
      }
      mu_.AwaitWithTimeout(absl::Condition(&stop_), kPauseAfterFailure);
    } else {
      failing = false;
    }
  }
}

std::string PoolRouter::ServerOf(absl::string_view key) const {
  const SharedRing::Reader ring(ring_);
  const uint32_t server = ring->Find(StableHash(key));
  return server == HashRing::kNoServer ? std::string() : ring->servers()[server].id;
}

std::vector<std::string> PoolRouter::ServersOf(absl::string_view key, size_t count) const {
  std::vector<std::string> names;
  const SharedRing::Reader ring(ring_);
  for (const uint32_t server : ring->Successors(StableHash(key), count)) {
    names.push_back(ring->servers()[server].id);
  }
  return names;
}

}  // namespace ballast::client
