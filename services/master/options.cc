// SPDX-License-Identifier: Apache-2.0
#include "services/master/options.h"

#include "common/cli/command_line.h"

namespace ballast::master {

Options ParseOptionsOrExit(int argc, char** argv) {
  Options options;
  CommandLine command_line(
      "master",
      "A member of a group of masters: the metadata of the group's shards, and "
      "what it knows of chunk servers.",
      "BALLAST_MASTER");
  FlagSet& format = command_line.Verb("format", "Make the folder of a master");
  format.String("--folder", &options.folder, "Folder to make; its parent exists").Required();
  format
      .String("--cluster-id", &options.cluster_id,
              "UUID of the cluster, as 'shardctl format' printed it")
      .Required();
  format.Uint("--shards", &options.shards,
              "Number of shards of the cluster, 1 to 65536, as shardctl was formatted");
  format.Uint("--group", &options.group, "Number of the group, 1 and up");
  format.Uint("--node-id", &options.node_id, "Which of the voters this one is");
  format.Strings("--voters", &options.voters,
                 "All 1, 3 or 5 masters of the group as NODE=HOST:PORT, with commas between");
  FlagSet& run = command_line.Verb("run", "Serve until SIGTERM");
  run.String("--folder", &options.folder, "Folder that format made").Required();
  run.String("--listen", &options.listen,
             "HOST:PORT to listen on; by default the address that format gave this node");
  run.Strings("--shardctl", &options.shardctl,
              "HOST:PORT of every shard controller, with commas between");
  options.verb = command_line.ParseOrExit(argc, argv) == "format" ? Options::Verb::kFormat
                                                                  : Options::Verb::kRun;
  return options;
}

}  // namespace ballast::master
