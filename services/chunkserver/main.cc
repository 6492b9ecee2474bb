// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>

#include "common/base/log.h"
#include "common/cli/descriptors.h"
#include "common/cli/stop_signal.h"
#include "common/env/file_system.h"
#include "common/rpc/bulk_channel.h"
#include "services/chunkserver/options.h"
#include "services/chunkserver/server.h"

namespace ballast::chunkserver {
namespace {

// One line; 2 if the caller did something wrong, 1 if the world did.
int Fail(const absl::Status& status) {
  std::cerr << "chunkserver: " << status.message() << "\n";
  return status.code() == absl::StatusCode::kInvalidArgument ||
                 status.code() == absl::StatusCode::kNotFound
             ? 2
             : 1;
}

int RunFormat(const Options& options) {
  const auto server_id = Format(PosixFileSystem(), options);
  if (!server_id.ok()) {
    return Fail(server_id.status());
  }
  std::cout << *server_id << std::endl;
  return 0;
}

int RunServer(const Options& options) {
  BlockStopSignals();
  AllowManyDescriptors();
  TuneBulkMemory();
  auto server = Server::Start(PosixFileSystem(), options, [](const absl::Status& status) {
    LogError("chunkserver.failed", {{"error", std::string(status.message())}});
    RequestStop(1);
  });
  if (!server.ok()) {
    return Fail(server.status());
  }
  LogInfo("chunkserver.serving", {{"address", (*server)->address()},
                                  {"server", (*server)->identity().server_id()},
                                  {"cluster", (*server)->identity().cluster_id()},
                                  {"boot_epoch", (*server)->identity().boot_epoch()},
                                  {"folder", options.folder}});
  const int exit_code = WaitForStop();
  server->reset();
  LogInfo("chunkserver.stopped");
  return exit_code;
}

}  // namespace
}  // namespace ballast::chunkserver

int main(int argc, char** argv) {
  using ballast::chunkserver::Options;
  const Options options = ballast::chunkserver::ParseOptionsOrExit(argc, argv);
  return options.verb == Options::Verb::kFormat ? ballast::chunkserver::RunFormat(options)
                                                : ballast::chunkserver::RunServer(options);
}
