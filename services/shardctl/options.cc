// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/options.h"

#include "common/cli/command_line.h"

namespace ballast::shardctl {

Options ParseOptionsOrExit(int argc, char** argv) {
  Options options;
  CommandLine command_line("shardctl",
                           "The shard controller: which group owns which shard, and the registry "
                           "of chunk servers.",
                           "BALLAST_SHARDCTL");
  FlagSet& format =
      command_line.Verb("format", "Make the folder of a shard controller and print the cluster id");
  format.String("--folder", &options.folder, "Folder to make; its parent exists").Required();
  format.String("--cluster-id", &options.cluster_id,
                "UUID of the cluster; a new one if not given (all voters need the same)");
  format.Uint("--shards", &options.shards,
              "Number of shards, 1 to 65536; fixed for the life of the cluster");
  format.Uint("--node-id", &options.node_id, "Which of the voters this one is");
  format.Strings("--voters", &options.voters,
                 "All 1, 3 or 5 controllers as NODE=HOST:PORT, with commas between");
  FlagSet& run = command_line.Verb("run", "Serve until SIGTERM");
  run.String("--folder", &options.folder, "Folder that format made").Required();
  run.String("--listen", &options.listen,
             "HOST:PORT to listen on; by default the address that format gave this node");
  options.verb = command_line.ParseOrExit(argc, argv) == "format" ? Options::Verb::kFormat
                                                                  : Options::Verb::kRun;
  return options;
}

}  // namespace ballast::shardctl
