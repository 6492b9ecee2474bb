// SPDX-License-Identifier: Apache-2.0
#include "gateway/options.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/byte_units.h"
#include "common/cli/command_line.h"
#include "common/types/limits.h"

namespace ballast::gateway {
namespace {

constexpr absl::Duration kIntervalMin = absl::Milliseconds(10);
constexpr absl::Duration kIntervalMax = absl::Hours(1);

bool IsAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  return colon != std::string::npos && colon > 0 &&
         absl::SimpleAtoi(address.substr(colon + 1), &port) && port > 0 && port < 65536;
}

}  // namespace

absl::Status Validate(const Options& options) {
  for (const std::string& address : options.remote.cluster) {
    if (!IsAddress(address)) {
      return absl::InvalidArgumentError(absl::StrCat("--cluster: '", address, "' is no HOST:PORT"));
    }
  }
  const EmbeddedBackendOptions& embedded = options.embedded;
  if (options.IsRemote() && !embedded.folder.empty()) {
    return absl::InvalidArgumentError("--folder is for the embedded cluster, not for --cluster");
  }
  if (options.IsRemote() && embedded.auto_rebalance) {
    return absl::InvalidArgumentError(
        "--auto-rebalance is for the embedded cluster; a running one has the setting "
        "rebalance-auto");
  }
  if (embedded.chunk_bytes == 0 || embedded.chunk_bytes > kChunkBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--chunk-bytes must be from 1 to ", FormatBytes(kChunkBytesMax)));
  }
  if (embedded.heartbeat_interval < kIntervalMin || embedded.heartbeat_interval > kIntervalMax) {
    return absl::InvalidArgumentError(absl::StrCat("--heartbeat-interval must be from ",
                                                   absl::FormatDuration(kIntervalMin), " to ",
                                                   absl::FormatDuration(kIntervalMax)));
  }
  return absl::OkStatus();
}

Options ParseOptionsOrExit(int argc, char** argv) {
  Options options;
  CommandLine command_line(
      "gateway",
      "JSON messages on standard input, replies on standard output, in front of a cluster: an "
      "embedded one, or the one that --cluster names. Ends when its input ends.",
      "BALLAST_GATEWAY");
  FlagSet& flags = command_line.global();
  flags
      .Strings("--cluster", &options.remote.cluster,
               "HOST:PORT of the running cluster's shard controllers, with commas between; without "
               "it a cluster of its own runs inside")
      .Environment("BALLAST_CLUSTER");
  flags.String(
      "--folder", &options.embedded.folder,
      "Folder below which the embedded cluster makes a scratch folder, removed at the end; "
      "by default $TMPDIR, else /tmp");
  flags.Bytes("--chunk-bytes", &options.embedded.chunk_bytes,
              "Length of a chunk that messages name first (embedded), at most 64MiB");
  flags.Duration("--heartbeat-interval", &options.embedded.heartbeat_interval,
                 "How often servers send heartbeats (embedded); after three missed ones a server "
                 "is dead");
  flags.String(
      "--pool", &options.embedded.pool,
      "Routing pool of add_server, remove_server and get_server; 'ballast pool show' draws "
      "it");
  flags.Bool("--auto-rebalance", &options.embedded.auto_rebalance,
             "Level the servers in the background, as a running cluster does (embedded); without "
             "it only messages move chunks");
  flags.Bool("--verbose", &options.verbose, "Log what happens, not only what goes wrong");
  command_line.ParseOrExit(argc, argv);
  options.remote.pool = options.embedded.pool;
  return options;
}

}  // namespace ballast::gateway
