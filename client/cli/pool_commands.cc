// SPDX-License-Identifier: Apache-2.0
#include "client/cli/pool_commands.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/maintenance_text.h"
#include "client/cli/pool_text.h"
#include "client/pool_ring.h"
#include "common/base/status_macros.h"

namespace ballast::client {
namespace {

absl::Status PrintPool(Command& command, const v1::Pool& pool) {
  if (command.options.json) {
    return Print(MessageJson(pool) + "\n");
  }
  ASSIGN_OR_RETURN(const HashRing ring, RingOf(pool));
  return Print(PoolText(pool, ring));
}

// The same change for each server named; shows the pool as it is then.
absl::Status PutEach(Command& command, std::optional<double> weight, std::optional<bool> draining) {
  v1::Pool pool;
  for (const std::string& server : command.options.servers) {
    v1::PutPoolServerRequest request;
    request.set_pool(command.options.pool);
    request.set_id(server);
    if (weight.has_value()) request.set_weight(*weight);
    if (draining.has_value()) request.set_draining(*draining);
    ASSIGN_OR_RETURN(auto response, command.client->controller().PutPoolServer(request));
    pool.Swap(response.mutable_pool());
  }
  return PrintPool(command, pool);
}

// Draining means servers that are there: a misspelt name must not add one.
absl::Status SetDraining(Command& command, bool draining) {
  v1::GetPoolRequest request;
  request.set_name(command.options.pool);
  ASSIGN_OR_RETURN(const auto response, command.client->controller().GetPool(request));
  for (const std::string& name : command.options.servers) {
    bool known = false;
    for (const v1::PoolServer& server : response.pool().servers()) {
      known |= server.id() == name;
    }
    if (!known) {
      return absl::NotFoundError(
          absl::StrCat("pool '", command.options.pool, "' has no server '", name, "'"));
    }
  }
  return PutEach(command, std::nullopt, draining);
}

}  // namespace

absl::Status RunPoolCreate(Command& command) {
  v1::CreatePoolRequest request;
  request.set_name(command.options.pool);
  request.set_points_per_weight(command.options.points_per_weight);
  ASSIGN_OR_RETURN(const auto response, command.client->controller().CreatePool(request));
  return PrintPool(command, response.pool());
}

absl::Status RunPoolDelete(Command& command) {
  v1::DeletePoolRequest request;
  request.set_name(command.options.pool);
  RETURN_IF_ERROR(command.client->controller().DeletePool(request).status());
  return PrintEither(command, "{}", absl::StrCat("pool ", command.options.pool, " is gone\n"));
}

absl::Status RunPoolList(Command& command) {
  ASSIGN_OR_RETURN(const auto response, command.client->controller().ListPools());
  return PrintEither(command, MessageJson(response), PoolListText(response));
}

absl::Status RunPoolShow(Command& command) {
  v1::GetPoolRequest request;
  request.set_name(command.options.pool);
  ASSIGN_OR_RETURN(const auto response, command.client->controller().GetPool(request));
  return PrintPool(command, response.pool());
}

absl::Status RunPoolAdd(Command& command) {
  return PutEach(command, command.options.weight, std::nullopt);
}

absl::Status RunPoolRemove(Command& command) {
  v1::Pool pool;
  for (const std::string& server : command.options.servers) {
    v1::RemovePoolServerRequest request;
    request.set_pool(command.options.pool);
    request.set_id(server);
    ASSIGN_OR_RETURN(auto response, command.client->controller().RemovePoolServer(request));
    pool.Swap(response.mutable_pool());
  }
  return PrintPool(command, pool);
}

absl::Status RunPoolDrain(Command& command) { return SetDraining(command, true); }
absl::Status RunPoolUndrain(Command& command) { return SetDraining(command, false); }

absl::Status RunPoolRoute(Command& command) {
  for (const std::string& key : command.options.keys) {
    v1::RouteRequest request;
    request.set_pool(command.options.pool);
    request.set_key(key);
    request.set_count(command.options.count);
    ASSIGN_OR_RETURN(const auto response, command.client->controller().Route(request));
    RETURN_IF_ERROR(
        PrintEither(command, MessageJson(response),
                    response.servers().empty()
                        ? absl::StrCat(key, "  no server takes requests\n")
                        : absl::StrCat(key, "  ", absl::StrJoin(response.servers(), " "), "\n")));
  }
  return absl::OkStatus();
}

}  // namespace ballast::client
