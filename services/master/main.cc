// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>

#include "common/base/log.h"
#include "common/cli/descriptors.h"
#include "common/cli/stop_signal.h"
#include "common/env/file_system.h"
#include "services/master/options.h"
#include "services/master/server.h"

namespace ballast::master {
namespace {

// One line; 2 if the caller did something wrong, 1 if the world did.
int Fail(const absl::Status& status) {
  std::cerr << "master: " << status.message() << "\n";
  return status.code() == absl::StatusCode::kInvalidArgument ||
                 status.code() == absl::StatusCode::kNotFound
             ? 2
             : 1;
}

int RunFormat(const Options& options) {
  const absl::Status status = Format(PosixFileSystem(), options);
  return status.ok() ? 0 : Fail(status);
}

int RunServer(const Options& options) {
  BlockStopSignals();
  AllowManyDescriptors();
  auto server = Server::Start(PosixFileSystem(), options, [](const absl::Status& status) {
    LogError("master.failed", {{"error", std::string(status.message())}});
    RequestStop(1);
  });
  if (!server.ok()) {
    return Fail(server.status());
  }
  LogInfo("master.serving", {{"address", (*server)->address()},
                             {"cluster", (*server)->identity().cluster_id},
                             {"group", (*server)->identity().group.value()},
                             {"folder", options.folder}});
  const int exit_code = WaitForStop();
  server->reset();
  LogInfo("master.stopped");
  return exit_code;
}

}  // namespace
}  // namespace ballast::master

int main(int argc, char** argv) {
  using ballast::master::Options;
  const Options options = ballast::master::ParseOptionsOrExit(argc, argv);
  return options.verb == Options::Verb::kFormat ? ballast::master::RunFormat(options)
                                                : ballast::master::RunServer(options);
}
