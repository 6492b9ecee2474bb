// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "gateway/cluster_backend.h"
#include "gateway/core/json_scanner.h"

// The messages of docs/formats/gateway_messages.md as values: the translation from JSON text.

namespace ballast::gateway {

// Maelstrom's error codes, as far as they are used.
enum class ErrorCode {
  kTimeout = 0,  // the outcome is unknown
  kNotSupported = 10,
  kTemporarilyUnavailable = 11,
  kMalformedRequest = 12,
  kCrash = 13,  // the outcome is unknown
  kKeyDoesNotExist = 20,
  kPreconditionFailed = 22,
};

// --- bodies, one struct a type ------------------------------------------------------------------
// A key is text: a string as it is, any other JSON value as its compact text.
struct InitRequest {
  std::string node_id;
  std::vector<std::string> node_ids;
};
struct HeartbeatRequest {
  ServerHeartbeat heartbeat;
};
struct ServerStatusRequest {};
struct RebalanceCheckRequest {};
struct RebalanceExecuteRequest {
  std::vector<ChunkMove> moves;
};
struct SetConfigRequest {
  GroupConfiguration config;
};
struct ConfigUpdateRequest {
  GroupConfiguration config;
};
struct AddServerRequest {
  std::string server;
  std::optional<double> weight;
};
struct RemoveServerRequest {
  std::string server;
};
struct GetServerRequest {
  std::string key;
};
// Values are compact JSON text.
struct ReadRequest {
  std::string key;
};
struct WriteRequest {
  std::string key;
  std::string value;
};
struct CasRequest {
  std::string key;
  std::string from;
  std::string to;
};
// A message that is answered with an error whatever the cluster says.
struct Refusal {
  ErrorCode code = ErrorCode::kMalformedRequest;
  std::string text;
};

using Request =
    std::variant<Refusal, InitRequest, HeartbeatRequest, ServerStatusRequest, RebalanceCheckRequest,
                 RebalanceExecuteRequest, SetConfigRequest, ConfigUpdateRequest, AddServerRequest,
                 RemoveServerRequest, GetServerRequest, ReadRequest, WriteRequest, CasRequest>;

struct Message {
  std::string src;
  std::optional<std::string> dest;  // absent: it could not be told
  std::string msg_id;               // an integer as JSON text
  std::string type;                 // of the request; empty in some refusals
  Request request;
};

// A message to answer, or why there is nobody to answer to.
struct Unanswerable {
  std::string text;
};
using ParsedMessage = std::variant<Message, Unanswerable>;

// `text`: a whole JSON value. Consumes it.
ParsedMessage ParseMessage(std::string text);

// For a value that the reader could not make out: a Refusal if its sender and number can be told.
ParsedMessage RefuseBadValue(absl::string_view problem, const EnvelopeFacts& facts);

}  // namespace ballast::gateway
