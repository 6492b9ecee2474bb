// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "protos/master_service.pb.h"

// Words for people about repair, rebalancing and drains. Pure.

namespace ballast::client {

// How a chunk server is called where only its id is known.
using ServerNames = std::function<std::string(const std::string& server_id)>;

// Repair, rebalancing and drains in some lines; only what is worth saying.
std::string MaintenanceText(const v1::GetMaintenanceResponse& state);
// Everything about an episode or a plan, with the moves that it names.
std::string RebalanceText(const v1::RebalanceState& state, const ServerNames& names);
// One line: how far an episode is.
std::string RebalanceProgressText(const v1::RebalanceState& state);
std::string BalanceText(const v1::CheckBalanceResponse& check);
std::string DrainsText(const std::vector<v1::DrainState>& drains);
std::string ExplanationText(const v1::ExplainResponse& explanation);
std::string FindingText(const v1::FsckResponse::Finding& finding, const ServerNames& names);

// A message in the JSON mapping of Protocol Buffers, fields named as in the protos, zeros included.
std::string MessageJson(const google::protobuf::Message& message);

}  // namespace ballast::client
