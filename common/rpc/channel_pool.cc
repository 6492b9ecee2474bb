// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/channel_pool.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "absl/time/clock.h"
#include "common/rpc/grpc_log.h"
#include "common/rpc/grpc_process.h"
#include "common/rpc/grpc_server.h"
#include "common/types/limits.h"

namespace ballast {

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  PrepareGrpcProcess();
  CaptureGrpcLog();
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(static_cast<int>(kMessageBytesMax));
  args.SetMaxSendMessageSize(static_cast<int>(kMessageBytesMax));
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // see grpc_server.cc
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Servers come back within seconds; the default would wait up to two minutes.
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // No pause, in spite of its name: the time that one attempt to connect may take. On a busy
  // machine the handshake takes its time.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 3000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

std::shared_ptr<grpc::Channel> ChannelPool::Get(const std::string& address) {
  absl::MutexLock lock(&mu_);
  std::shared_ptr<grpc::Channel>& channel = channels_[address];
  if (channel == nullptr) {
    channel = MakeChannel(address);
  }
  return channel;
}

void PrepareContext(grpc::ClientContext& context, absl::string_view cluster_id,
                    absl::Duration timeout) {
  if (!cluster_id.empty()) {
    context.AddMetadata(kClusterIdMetadata, std::string(cluster_id));
  }
  if (timeout < absl::InfiniteDuration()) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  }
}

}  // namespace ballast
