// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <thread>

#include "common/base/log.h"
#include "common/cli/descriptors.h"
#include "common/cli/stop_signal.h"
#include "common/env/clock.h"
#include "gateway/backend_starter.h"
#include "gateway/backends.h"
#include "gateway/gateway.h"
#include "gateway/options.h"
#include "gateway/standard_streams.h"

int main(int argc, char** argv) {
  namespace gateway = ballast::gateway;
  gateway::OccupyStandardDescriptors();
  const gateway::Options options = gateway::ParseOptionsOrExit(argc, argv);
  if (const absl::Status status = gateway::Validate(options); !status.ok()) {
    std::cerr << "gateway: " << status.message() << " (see gateway --help)\n";
    return 2;
  }
  ballast::SetLogLevel(options.verbose ? ballast::LogLevel::kInfo : ballast::LogLevel::kWarning);
  ballast::BlockStopSignals();
  ballast::AllowManyDescriptors();
  // Lives as long as the process: the thread that waits for signals is never joined.
  auto* const stop = new gateway::StopEvent;
  std::thread([stop] {
    ballast::WaitForStop();
    stop->Set();
  }).detach();
  gateway::BackendStarter backend([&options] {
    return options.IsRemote() ? gateway::MakeRemoteBackend(options.remote)
                              : gateway::MakeEmbeddedBackend(options.embedded);
  });
  return gateway::RunGateway({}, backend, ballast::RealClock(), *stop);
}
