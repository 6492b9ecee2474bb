// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/options.h"

#include "common/cli/command_line.h"

namespace ballast::chunkserver {

Options ParseOptionsOrExit(int argc, char** argv) {
  Options options;
  CommandLine command_line("chunkserver", "Stores chunks of objects and serves them.",
                           "BALLAST_CHUNKSERVER");
  FlagSet& format =
      command_line.Verb("format", "Make the folder of a chunk server and print the server's id");
  format.String("--folder", &options.folder, "Folder to make; its parent exists").Required();
  format.String("--cluster-id", &options.cluster_id,
                "UUID of the cluster; asked from shardctl if not given");
  format.Strings("--shardctl", &options.shardctl,
                 "HOST:PORT of the shard controllers, with commas between");
  FlagSet& run = command_line.Verb("run", "Serve until SIGTERM");
  run.String("--folder", &options.folder, "Folder that format made").Required();
  run.String("--listen", &options.listen, "HOST:PORT to listen on; port 0 picks one");
  run.String("--advertise", &options.advertise,
             "HOST:PORT under which others reach this server; by default the address listened on");
  run.Strings("--shardctl", &options.shardctl,
              "HOST:PORT of the shard controllers, with commas between");
  run.String("--zone", &options.zone,
             "Failure domain: replicas of a chunk are spread over different ones");
  run.Bytes("--capacity-bytes", &options.capacity_bytes,
            "What chunks may take in all; 0: the whole file system");
  run.Uint("--disk-threads", &options.disk_threads, "Threads for disk work, 1 to 256");
  options.verb = command_line.ParseOrExit(argc, argv) == "format" ? Options::Verb::kFormat
                                                                  : Options::Verb::kRun;
  return options;
}

}  // namespace ballast::chunkserver
