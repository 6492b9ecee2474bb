// SPDX-License-Identifier: Apache-2.0
#include "client/cli/commands.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/json_output.h"
#include "client/cli/maintenance_commands.h"
#include "client/cli/pool_commands.h"
#include "client/cli/progress_bar.h"
#include "client/cli/text_output.h"
#include "client/client.h"
#include "client/health_check.h"
#include "common/base/status_macros.h"

namespace ballast::client {

bool Command::notes_wanted() const { return !options.quiet && ::isatty(STDERR_FILENO) != 0; }

absl::Status Print(absl::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
    return absl::ErrnoToStatus(errno, "writing standard output");
  }
  return absl::OkStatus();
}

absl::Status PrintEither(const Command& command, const std::string& json, const std::string& text) {
  return Print(command.options.json ? json + "\n" : text);
}

namespace {

constexpr int kFailed = 1;
constexpr int kInterrupted = 130;  // 128 + SIGINT, as shells say it

// A person waits for this long to learn that there is no cluster; long enough for one that starts.
constexpr absl::Duration kConnectTimeout = absl::Seconds(5);

// A health check is asked often and by programs with deadlines of their own.
constexpr absl::Duration kHealthTimeout = absl::Seconds(5);

// Objects fetched and printed at once by ls.
constexpr size_t kListStep = 1000;

void Note(absl::string_view text) {
  std::fprintf(stderr, "ballast: %.*s\n", static_cast<int>(text.size()), text.data());
}

// What a person is told of bytes that were stored as `key`.
void NoteStored(const Command& command, absl::string_view verb, const std::string& key,
                const PutResult& result, absl::Duration took) {
  if (result.least_replicas < result.wanted_replicas) {
    Note(absl::StrCat("warning: ", PrintableKey(key), ": some chunks have ", result.least_replicas,
                      " of ", result.wanted_replicas,
                      " wanted copies; 'ballast servers' shows why"));
  }
  if (command.notes_wanted()) {
    Note(absl::StrCat(verb, " ", PrintableKey(key), ": ", RateText(result.size_bytes, took),
                      ", generation ", result.generation));
  }
}

absl::Status RunPut(Command& command) {
  const CliOptions& options = command.options;
  std::unique_ptr<Source> source;
  if (options.file == "-") {
    ASSIGN_OR_RETURN(source, MakeDescriptorSource(STDIN_FILENO, "standard input"));
  } else {
    ASSIGN_OR_RETURN(source, OpenFileSource(options.file));
  }
  Progress progress;
  PutOptions put;
  put.replicas = options.replicas;
  put.if_generation_match = options.if_generation_match;
  put.metadata = options.metadata;
  put.cancel = &command.cancel;
  put.progress = &progress;
  const SteadyTime begin = RealClock().SteadyNow();
  absl::StatusOr<PutResult> result = absl::UnknownError("");
  {
    const ProgressBar bar(command.notes_wanted(), options.key, progress);
    result = command.client->Put(options.key, *source, put);
  }
  RETURN_IF_ERROR(result.status());
  const absl::Duration took = RealClock().SteadyNow() - begin;
  NoteStored(command, "stored", options.key, *result, took);
  return PrintEither(command, PutJson(options.key, *result, took), "");
}

absl::Status RunGet(Command& command) {
  const CliOptions& options = command.options;
  std::unique_ptr<Sink> sink;
  if (options.file == "-") {
    sink = MakeDescriptorSink(STDOUT_FILENO, "standard output");
  } else {
    ASSIGN_OR_RETURN(sink, CreateFileSink(options.file));
  }
  Progress progress;
  GetOptions get;
  get.offset_bytes = options.offset_bytes;
  get.length_bytes = options.length_bytes;
  get.replica_choice = options.spread ? ReplicaChoice::kRandom : ReplicaChoice::kPreferred;
  get.cancel = &command.cancel;
  get.progress = &progress;
  const SteadyTime begin = RealClock().SteadyNow();
  absl::StatusOr<GetResult> result = absl::UnknownError("");
  {
    // A bar over bytes that go to the same terminal would spoil both.
    const bool to_terminal = options.file == "-" && ::isatty(STDOUT_FILENO) != 0;
    const ProgressBar bar(command.notes_wanted() && !to_terminal, options.key, progress);
    result = command.client->Get(options.key, *sink, get);
  }
  RETURN_IF_ERROR(result.status());
  const absl::Duration took = RealClock().SteadyNow() - begin;
  if (command.notes_wanted() && options.file != "-") {
    Note(absl::StrCat("read ", PrintableKey(options.key), " into ", options.file, ": ",
                      RateText(result->delivered_bytes, took)));
  }
  return PrintEither(command, GetJson(*result, options.file, took), "");
}

absl::Status RunCp(Command& command) {
  const CliOptions& options = command.options;
  Progress progress;
  CopyOptions copy;
  copy.replicas = options.replicas;
  copy.if_generation_match = options.if_generation_match;
  copy.cancel = &command.cancel;
  copy.progress = &progress;
  const SteadyTime begin = RealClock().SteadyNow();
  absl::StatusOr<CopyResult> result = absl::UnknownError("");
  {
    const ProgressBar bar(command.notes_wanted(), options.target_key, progress);
    result = command.client->Copy(options.key, options.target_key, copy);
  }
  RETURN_IF_ERROR(result.status());
  const absl::Duration took = RealClock().SteadyNow() - begin;
  NoteStored(command, "copied to", options.target_key, result->put, took);
  return PrintEither(command, CopyJson(options.key, options.target_key, *result, took), "");
}

absl::Status RunReplicas(Command& command) {
  const CliOptions& options = command.options;
  RETURN_IF_ERROR(command.client->SetReplication(options.key, options.replicas, &command.cancel));
  return PrintEither(command, ReplicasJson(options.key, options.replicas), "");
}

absl::Status RunLs(Command& command) {
  const CliOptions& options = command.options;
  ListOptions list;
  list.prefix = options.prefix;
  list.start_after = options.start_after;
  list.cancel = &command.cancel;
  ObjectLister lister = command.client->Lister(list);
  uint64_t left = options.limit == 0 ? UINT64_MAX : options.limit;
  while (left > 0) {
    const size_t step = std::min<uint64_t>(left, kListStep);
    ASSIGN_OR_RETURN(const auto objects, lister.Next(step));
    std::string text;
    for (const v1::ObjectInfo& object : objects) {
      absl::StrAppend(&text, options.json        ? ObjectJson(object) + "\n"
                             : options.long_form ? ObjectLine(object)
                                                 : PrintableKey(object.key()) + "\n");
    }
    RETURN_IF_ERROR(Print(text));
    if (objects.size() < step) {
      break;
    }
    left -= objects.size();
  }
  return absl::OkStatus();
}

absl::Status RunStat(Command& command) {
  ASSIGN_OR_RETURN(const v1::ObjectInfo object,
                   command.client->Stat(command.options.key, &command.cancel));
  return PrintEither(command, ObjectJson(object), ObjectText(object));
}

// Says of each key what happened: a failure does not keep the others from being removed.
absl::Status RunRm(Command& command) {
  std::vector<BatchOperation> operations;
  for (const std::string& key : command.options.keys) {
    BatchOperation operation;
    operation.kind = BatchOperation::Kind::kDelete;
    operation.key = key;
    operation.if_generation_match = command.options.if_generation_match;
    operations.push_back(std::move(operation));
  }
  const auto results = command.client->Batch(operations, &command.cancel);
  for (size_t i = 0; i < results.size(); ++i) {
    const std::string& key = operations[i].key;
    const absl::Status& status = results[i].status();
    if (command.options.json) {
      RETURN_IF_ERROR(
          Print(RemovedJson(key, status.ok() ? results[i]->generation : 0, status) + "\n"));
    } else if (!status.ok()) {
      std::fputs(ErrorText(absl::StrCat("rm ", key), status).c_str(), stderr);
    }
    command.failed |= !status.ok();
  }
  return absl::OkStatus();
}

absl::Status RunServers(Command& command) {
  ASSIGN_OR_RETURN(const ClusterStatus status, command.client->Status(&command.cancel));
  if (!status.servers.ok() && !command.options.quiet) {
    Note(
        absl::StrCat("no master could be asked how they are: ", status.servers.status().message()));
  }
  return PrintEither(command, ServersJson(status), ServersText(status));
}

absl::Status RunGroupJoin(Command& command) {
  v1::JoinRequest request;
  request.mutable_group()->set_group_id(command.options.group);
  uint32_t node = 0;
  for (const std::string& address : command.options.addresses) {
    v1::MasterAddress* const master = request.mutable_group()->add_masters();
    master->set_node_id(++node);
    master->set_address(address);
  }
  ASSIGN_OR_RETURN(const auto response, command.client->controller().Join(request));
  return PrintEither(command, ConfigurationJson(response.configuration()),
                     ConfigurationText(response.configuration()));
}

absl::Status RunGroupLeave(Command& command) {
  v1::LeaveRequest request;
  request.set_group_id(command.options.group);
  ASSIGN_OR_RETURN(const auto response, command.client->controller().Leave(request));
  return PrintEither(command, ConfigurationJson(response.configuration()),
                     ConfigurationText(response.configuration()));
}

absl::Status RunSettings(Command& command) {
  v1::Settings settings;
  if (command.options.changes_settings) {
    ASSIGN_OR_RETURN(const auto response,
                     command.client->controller().UpdateSettings(command.options.settings));
    settings = response.settings();
  } else {
    ASSIGN_OR_RETURN(const auto response, command.client->controller().Watch(v1::WatchRequest()));
    settings = response.registry().settings();
  }
  return PrintEither(command, SettingsJson(settings), SettingsText(settings));
}

// Needs no cluster, only the server it is about.
absl::Status RunHealth(const CliOptions& options) {
  RETURN_IF_ERROR(CheckHealth(options.address, std::min(options.timeout, kHealthTimeout)));
  return Print(options.json ? "{\"serving\":true}\n" : "serving\n");
}

ClientOptions MakeClientOptions(const CliOptions& options) {
  ClientOptions client;
  client.cluster = options.cluster;
  client.retry.total = options.timeout;
  client.connect_timeout = std::min(kConnectTimeout, options.timeout);
  client.chunk_write_retry.total = std::min(client.chunk_write_retry.total, options.timeout);
  client.chunk_read_retry.total = std::min(client.chunk_read_retry.total, options.timeout);
  client.puts_in_flight = static_cast<int>(options.parallel);
  client.gets_in_flight = static_cast<int>(options.parallel);
  if (options.chunk_bytes != 0) {
    client.chunk_bytes = options.chunk_bytes;
    client.stream_chunk_bytes = options.chunk_bytes;
  }
  if (!options.quiet) {
    client.on_waiting = [](absl::string_view text) { Note(absl::StrCat("waiting: ", text)); };
  }
  return client;
}

// What the command was about, for its error line.
std::string Subject(const CliOptions& options) {
  if (!options.address.empty()) {
    return absl::StrCat(options.verb, " ", options.address);
  }
  return options.key.empty() ? options.verb : absl::StrCat(options.verb, " ", options.key);
}

absl::Status Run(Command& command) {
  static const auto* const kVerbs =
      new std::map<std::string, std::function<absl::Status(Command&)>>{
          {"put", RunPut},
          {"get", RunGet},
          {"cp", RunCp},
          {"replicas", RunReplicas},
          {"ls", RunLs},
          {"stat", RunStat},
          {"rm", RunRm},
          {"status", RunStatus},
          {"servers", RunServers},
          {"group join", RunGroupJoin},
          {"group leave", RunGroupLeave},
          {"settings", RunSettings},
          {"rebalance check", RunRebalanceCheck},
          {"rebalance plan", RunRebalancePlan},
          {"rebalance run", RunRebalanceRun},
          {"rebalance stop", RunRebalanceStop},
          {"repair all", RunRepairAll},
          {"drain", RunDrain},
          {"undrain", RunUndrain},
          {"fsck", RunFsck},
          {"explain", RunExplain},
          {"pool create", RunPoolCreate},
          {"pool delete", RunPoolDelete},
          {"pool list", RunPoolList},
          {"pool show", RunPoolShow},
          {"pool add", RunPoolAdd},
          {"pool remove", RunPoolRemove},
          {"pool drain", RunPoolDrain},
          {"pool undrain", RunPoolUndrain},
          {"pool route", RunPoolRoute}};
  if (command.options.verb == "health") {
    RETURN_IF_ERROR(RunHealth(command.options));
  } else {
    ASSIGN_OR_RETURN(command.client, Client::Connect(MakeClientOptions(command.options)));
    RETURN_IF_ERROR(kVerbs->at(command.options.verb)(command));
  }
  if (std::fflush(stdout) != 0) {
    return absl::ErrnoToStatus(errno, "writing standard output");
  }
  return absl::OkStatus();
}

}  // namespace

int RunCommand(const CliOptions& options, Cancellation& cancel) {
  Command command{options, cancel, nullptr, false};
  absl::Status status = Run(command);
  if (options.verb != "health" && command.client == nullptr &&
      status.code() == absl::StatusCode::kUnavailable) {
    status = absl::UnavailableError(
        absl::StrCat(status.message(),
                     "; is the cluster running? ./dev up starts one here, --cluster or "
                     "BALLAST_CLUSTER names another"));
  }
  if (!status.ok()) {
    const std::string text =
        options.json ? ErrorJson(status) + "\n" : ErrorText(Subject(options), status);
    std::fputs(text.c_str(), stderr);
  }
  if (cancel.cancelled() && (command.failed || !status.ok())) {
    return kInterrupted;
  }
  return command.failed || !status.ok() ? kFailed : 0;
}

}  // namespace ballast::client
