// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "common/env/clock.h"
#include "gateway/cluster_backend.h"
#include "gateway/core/reply.h"
#include "gateway/core/request.h"

namespace ballast::gateway {

// Carries messages out, one after the other, and words their replies. Knows what a session is: the
// node's id and peers from `init`, and the number of the next reply.
//
// One thread. Handle blocks as long as the cluster takes. Failures of the cluster become replies of
// type "error"; nothing else can fail.
class Dispatcher {
 public:
  // The cluster, whenever it is needed; may wait. An error: there is none.
  using BackendSource = std::function<absl::StatusOr<ClusterBackend*>()>;

  // `clock` must outlive it.
  Dispatcher(BackendSource backend, Clock& clock);

  // The reply, a line. `read_at`: when the message was read.
  std::string Handle(const Message& message, SteadyTime read_at);

 private:
  std::string Reply(const Message& message, absl::string_view type, const ReplyFields& fields);
  std::string ErrorReply(const Message& message, ErrorCode code, absl::string_view text);
  void Init(const InitRequest& request);
  absl::StatusOr<ReplyFields> Heartbeat(ClusterBackend& cluster, const HeartbeatRequest& request,
                                        const std::string& sender, SteadyTime read_at);

  const BackendSource backend_;
  Clock& clock_;
  std::string node_id_;
  absl::flat_hash_set<std::string> peers_;  // init's node_ids
  uint64_t next_reply_ = 0;
};

// Whether carrying it out may need the cluster, and so take long.
bool NeedsCluster(const Request& request);

// The code of a reply to a request that failed with `status`. Codes 0 and 13 leave the outcome
// open, the others say that nothing happened.
ErrorCode ErrorCodeOf(const absl::Status& status, const Request& request);

}  // namespace ballast::gateway
