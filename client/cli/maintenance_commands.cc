// SPDX-License-Identifier: Apache-2.0
#include "client/cli/maintenance_commands.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/json_output.h"
#include "client/cli/maintenance_text.h"
#include "client/cli/text_output.h"
#include "common/base/status_macros.h"

namespace ballast::client {
namespace {

constexpr absl::Duration kLookEvery = absl::Seconds(1);
constexpr size_t kHandleDigits = 16;

CallControl Control(Command& command) { return {&command.cancel, std::nullopt}; }

absl::StatusOr<v1::Registry> Registry(Command& command) {
  ASSIGN_OR_RETURN(auto response, command.client->controller().Watch(v1::WatchRequest()));
  return std::move(*response.mutable_registry());
}

std::string NameOf(const v1::RegisteredServer& server) {
  return server.name().empty() ? server.address() : server.name();
}

ServerNames NamesOf(v1::Registry registry) {
  return [registry = std::move(registry)](const std::string& id) {
    for (const v1::RegisteredServer& server : registry.servers()) {
      if (server.server_id() == id) return NameOf(server);
    }
    return id;
  };
}

// By id, the beginning of an id (8 characters or more), name or address.
absl::StatusOr<v1::RegisteredServer> FindServer(const v1::Registry& registry,
                                                const std::string& what) {
  std::vector<v1::RegisteredServer> found;
  for (const v1::RegisteredServer& server : registry.servers()) {
    if (server.server_id() == what || server.name() == what || server.address() == what ||
        (what.size() >= 8 && absl::StartsWith(server.server_id(), what))) {
      found.push_back(server);
    }
  }
  if (found.size() == 1) {
    return found[0];
  }
  return absl::NotFoundError(
      found.empty()
          ? absl::StrCat("no chunk server is called '", what,
                         "'; 'ballast servers' lists ids and addresses")
          : absl::StrCat(found.size(), " chunk servers are called '", what, "': use the id"));
}

absl::Status PrintRebalance(Command& command, const std::vector<v1::RebalanceState>& states) {
  ASSIGN_OR_RETURN(v1::Registry registry, Registry(command));
  const ServerNames names = NamesOf(std::move(registry));
  for (const v1::RebalanceState& state : states) {
    RETURN_IF_ERROR(PrintEither(command, MessageJson(state), RebalanceText(state, names)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::RebalanceState>> States(Command& command, uint32_t moves_shown) {
  ASSIGN_OR_RETURN(const auto groups,
                   command.client->maintenance().State(moves_shown, Control(command)));
  std::vector<v1::RebalanceState> states;
  for (const MaintenanceClient::OfGroup& group : groups) {
    states.push_back(group.maintenance.rebalance());
  }
  return states;
}

// Shows progress until all groups are idle. An interrupt leaves the work to the masters.
absl::Status Follow(Command& command) {
  for (;;) {
    ASSIGN_OR_RETURN(const std::vector<v1::RebalanceState> states, States(command, 0));
    const bool idle = std::all_of(states.begin(), states.end(), [](const auto& state) {
      return state.phase() == v1::RebalanceState::PHASE_IDLE;
    });
    if (idle) {
      return absl::OkStatus();
    }
    if (command.notes_wanted()) {
      std::vector<std::string> lines;
      for (const v1::RebalanceState& state : states) {
        lines.push_back(RebalanceProgressText(state));
      }
      std::fprintf(stderr, "\r\033[K%s", absl::StrJoin(lines, "; ").c_str());
    }
    if (command.cancel.WaitFor(kLookEvery)) {
      return absl::CancelledError("it goes on without us; 'ballast rebalance stop' ends it");
    }
  }
}

absl::Status SetState(Command& command, v1::ServerState state) {
  ASSIGN_OR_RETURN(const v1::Registry registry, Registry(command));
  std::vector<v1::RegisteredServer> servers;  // all are known before any is changed
  for (const std::string& what : command.options.servers) {
    ASSIGN_OR_RETURN(servers.emplace_back(), FindServer(registry, what));
  }
  for (const v1::RegisteredServer& server : servers) {
    v1::SetServerStateRequest request;
    request.set_server_id(server.server_id());
    request.set_state(state);
    ASSIGN_OR_RETURN(const auto response, command.client->controller().SetServerState(request));
    RETURN_IF_ERROR(PrintEither(
        command, MessageJson(response.server()),
        absl::StrCat(NameOf(server), state == v1::SERVER_STATE_DRAINING
                                         ? ": draining; 'ballast status' shows how far it is\n"
                                         : ": active\n")));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunRebalanceCheck(Command& command) {
  ASSIGN_OR_RETURN(const auto check, command.client->CheckBalance(&command.cancel));
  if (command.options.json) {
    return Print(MessageJson(check) + "\n");
  }
  RETURN_IF_ERROR(Print(BalanceText(check)));
  ASSIGN_OR_RETURN(const std::vector<v1::RebalanceState> states, States(command, 0));
  for (const v1::RebalanceState& state : states) {
    RETURN_IF_ERROR(Print(RebalanceProgressText(state) + "\n"));
  }
  return absl::OkStatus();
}

absl::Status RunRebalancePlan(Command& command) {
  ASSIGN_OR_RETURN(const auto plans, command.client->maintenance().Plan(command.options.moves_shown,
                                                                        Control(command)));
  return PrintRebalance(command, plans);
}

absl::Status RunRebalanceRun(Command& command) {
  ASSIGN_OR_RETURN(auto states, command.client->maintenance().Start(Control(command)));
  if (!command.options.no_wait) {
    RETURN_IF_ERROR(Follow(command));
    if (command.notes_wanted()) {
      std::fputs("\r\033[K", stderr);
    }
    ASSIGN_OR_RETURN(states, States(command, 0));
  }
  return PrintRebalance(command, states);
}

absl::Status RunRebalanceStop(Command& command) {
  ASSIGN_OR_RETURN(const auto states, command.client->maintenance().Stop(Control(command)));
  return PrintRebalance(command, states);
}

absl::Status RunRepairAll(Command& command) {
  RETURN_IF_ERROR(command.client->maintenance().RepairAll(Control(command)));
  return PrintEither(command, "{}", "everything that lacks replicas is repaired from now on\n");
}

absl::Status RunDrain(Command& command) { return SetState(command, v1::SERVER_STATE_DRAINING); }
absl::Status RunUndrain(Command& command) { return SetState(command, v1::SERVER_STATE_ACTIVE); }

absl::Status RunFsck(Command& command) {
  ASSIGN_OR_RETURN(const v1::Registry registry, Registry(command));
  const ServerNames names = NamesOf(registry);
  if (!command.options.purge.empty()) {
    uint64_t handle = 0;
    if (!absl::SimpleHexAtoi(command.options.purge, &handle) || command.options.servers.empty()) {
      return absl::InvalidArgumentError("--purge CHUNK needs 16 hexadecimal digits and --server");
    }
    ASSIGN_OR_RETURN(const v1::RegisteredServer server,
                     FindServer(registry, command.options.servers.front()));
    RETURN_IF_ERROR(command.client->maintenance().PurgeQuarantined(handle, server.server_id(),
                                                                   Control(command)));
    return PrintEither(command, "{}", "ordered to be deleted\n");
  }
  uint64_t findings = 0;
  uint64_t unsettled = 0;
  absl::Status printed;
  ASSIGN_OR_RETURN(const uint64_t examined,
                   command.client->maintenance().Fsck(
                       [&](const v1::FsckResponse& page) {
                         unsettled += page.shards_unsettled();
                         for (const v1::FsckResponse::Finding& finding : page.findings()) {
                           ++findings;
                           printed.Update(PrintEither(command, MessageJson(finding),
                                                      FindingText(finding, names)));
                         }
                       },
                       Control(command)));
  RETURN_IF_ERROR(printed);
  if (unsettled > 0) {
    // Of these nothing is known, and that must not look like nothing being wrong.
    return absl::UnavailableError(
        absl::StrCat(unsettled, " shards could not be examined: servers have not reported them yet; "
                                "'ballast servers' shows who is silent; try again"));
  }
  command.failed |= findings > 0;
  if (command.options.json) {
    return absl::OkStatus();
  }
  return Print(absl::StrCat(
      examined, " chunks, ",
      findings == 0 ? std::string("nothing wrong") : absl::StrCat(findings, " findings"), "\n"));
}

absl::Status RunExplain(Command& command) {
  const std::string& what = command.options.key;
  v1::ExplainRequest request;
  uint64_t handle = 0;
  ASSIGN_OR_RETURN(const v1::Registry registry, Registry(command));
  const auto server = FindServer(registry, what);
  if (server.ok()) {
    request.set_server_id(server->server_id());
  } else if (what.size() == kHandleDigits && absl::SimpleHexAtoi(what, &handle)) {
    request.set_handle(handle);
  } else {
    request.set_key(what);
  }
  ASSIGN_OR_RETURN(const auto explanation,
                   command.client->maintenance().Explain(request, Control(command)));
  return PrintEither(command, MessageJson(explanation), ExplanationText(explanation));
}

absl::Status RunStatus(Command& command) {
  ASSIGN_OR_RETURN(const ClusterStatus status, command.client->Status(&command.cancel));
  // A master that cannot be asked is told of by the cluster's state already.
  const auto asked = command.client->maintenance().State(
      0, {&command.cancel, RetryLimits{.total = absl::Seconds(2)}});
  const std::vector<MaintenanceClient::OfGroup> groups =
      asked.ok() ? *asked : std::vector<MaintenanceClient::OfGroup>();
  if (command.options.json) {
    return Print(StatusJson(status, groups) + "\n");
  }
  std::string text = StatusText(status);
  for (const MaintenanceClient::OfGroup& group : groups) {
    if (groups.size() > 1) absl::StrAppend(&text, "group ", group.group, "\n");
    absl::StrAppend(&text, MaintenanceText(group.maintenance));
  }
  return Print(text);
}

}  // namespace ballast::client
