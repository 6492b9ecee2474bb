// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>

#include "common/base/log.h"
#include "common/cli/descriptors.h"
#include "common/cli/stop_signal.h"
#include "common/env/file_system.h"
#include "services/shardctl/options.h"
#include "services/shardctl/server.h"

namespace ballast::shardctl {
namespace {

// One line; 2 if the caller did something wrong, 1 if the world did.
int Fail(const absl::Status& status) {
  std::cerr << "shardctl: " << status.message() << "\n";
  return status.code() == absl::StatusCode::kInvalidArgument ||
                 status.code() == absl::StatusCode::kNotFound
             ? 2
             : 1;
}

int RunFormat(const Options& options) {
  const auto cluster_id = Format(PosixFileSystem(), options);
  if (!cluster_id.ok()) {
    return Fail(cluster_id.status());
  }
  std::cout << *cluster_id << std::endl;
  return 0;
}

int RunServer(const Options& options) {
  BlockStopSignals();
  AllowManyDescriptors();
  auto server = Server::Start(PosixFileSystem(), options, [](const absl::Status& status) {
    LogError("shardctl.failed", {{"error", std::string(status.message())}});
    RequestStop(1);
  });
  if (!server.ok()) {
    return Fail(server.status());
  }
  LogInfo("shardctl.serving", {{"address", (*server)->address()},
                               {"cluster", (*server)->identity().cluster_id},
                               {"folder", options.folder}});
  const int exit_code = WaitForStop();
  server->reset();
  LogInfo("shardctl.stopped");
  return exit_code;
}

}  // namespace
}  // namespace ballast::shardctl

int main(int argc, char** argv) {
  using ballast::shardctl::Options;
  const Options options = ballast::shardctl::ParseOptionsOrExit(argc, argv);
  return options.verb == Options::Verb::kFormat ? ballast::shardctl::RunFormat(options)
                                                : ballast::shardctl::RunServer(options);
}
