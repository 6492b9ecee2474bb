// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace ballast {

// One channel per address, with keepalive, for calls about metadata. Bulk bytes, heartbeats and
// Raft use connections of their own (bulk_channel.h and their modules). Thread-safe.
class ChannelPool {
 public:
  // The channel to "host:port", made at first use; connecting happens in the background.
  std::shared_ptr<grpc::Channel> Get(const std::string& address);

 private:
  absl::Mutex mu_;
  absl::btree_map<std::string, std::shared_ptr<grpc::Channel>> channels_ ABSL_GUARDED_BY(mu_);
};

// A new channel of its own (not shared with the pool's connections), keepalive on.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address);

// Sets what every call carries: the cluster id and, unless infinite, a deadline.
void PrepareContext(grpc::ClientContext& context, absl::string_view cluster_id,
                    absl::Duration timeout);

}  // namespace ballast
