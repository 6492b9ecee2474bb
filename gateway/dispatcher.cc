// SPDX-License-Identifier: Apache-2.0
#include "gateway/dispatcher.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "gateway/core/json_value.h"

namespace ballast::gateway {
namespace {

constexpr size_t kErrorTextBytes = 1000;

template <typename... Types>
bool IsOneOf(const Request& request) {
  return (std::holds_alternative<Types>(request) || ...);
}

bool Changes(const Request& request) {
  return IsOneOf<RebalanceExecuteRequest, SetConfigRequest, ConfigUpdateRequest, AddServerRequest,
                 RemoveServerRequest, WriteRequest, CasRequest>(request);
}

// --- what the cluster is asked, one overload a request -------------------------------------------

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const ServerStatusRequest& /*request*/) {
  ASSIGN_OR_RETURN(const auto servers, cluster.Servers());
  return ServerStatusFields(servers);
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const RebalanceCheckRequest& /*request*/) {
  ASSIGN_OR_RETURN(const BalanceReport report, cluster.CheckBalance());
  return RebalanceCheckFields(report);
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const RebalanceExecuteRequest& request) {
  ASSIGN_OR_RETURN(const auto outcomes, cluster.Move(request.moves));
  return RebalanceExecuteFields(request.moves, outcomes);
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const SetConfigRequest& request) {
  RETURN_IF_ERROR(cluster.SetConfig(request.config));
  return ReplyFields();
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const ConfigUpdateRequest& request) {
  ASSIGN_OR_RETURN(const UpdateOutcome outcome, cluster.UpdateConfig(request.config));
  return ConfigUpdateFields(outcome);
}

absl::StatusOr<ReplyFields> Servers(absl::StatusOr<std::vector<std::string>> servers) {
  RETURN_IF_ERROR(servers.status());
  ReplyFields fields;
  fields.Texts("servers", *servers);
  return fields;
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const AddServerRequest& request) {
  return Servers(cluster.AddServer(request.server, request.weight));
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const RemoveServerRequest& request) {
  return Servers(cluster.RemoveServer(request.server));
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const GetServerRequest& request) {
  ASSIGN_OR_RETURN(const auto servers, cluster.Route(request.key));
  if (servers.empty()) {
    return absl::UnavailableError("there is no server: add_server adds one");
  }
  return GetServerFields(servers);
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const ReadRequest& request) {
  ASSIGN_OR_RETURN(const std::string value, cluster.Read(request.key));
  return ReadFields(value);
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const WriteRequest& request) {
  RETURN_IF_ERROR(cluster.Write(request.key, request.value));
  return ReplyFields();
}

absl::StatusOr<ReplyFields> Ask(ClusterBackend& cluster, const CasRequest& request) {
  RETURN_IF_ERROR(cluster.CompareAndSet(request.key, request.from, request.to));
  return ReplyFields();
}

// Answered before the cluster is asked.
template <typename AnsweredBefore>
absl::StatusOr<ReplyFields> Ask(ClusterBackend& /*cluster*/, const AnsweredBefore& /*request*/) {
  return absl::InternalError("this request is not for the cluster");
}

}  // namespace

Dispatcher::Dispatcher(BackendSource backend, Clock& clock)
    : backend_(std::move(backend)), clock_(clock) {}

std::string Dispatcher::Handle(const Message& message, SteadyTime read_at) {
  const Request& request = message.request;
  if (const auto* refusal = std::get_if<Refusal>(&request); refusal != nullptr) {
    return ErrorReply(message, refusal->code, refusal->text);
  }
  if (const auto* init = std::get_if<InitRequest>(&request); init != nullptr) {
    Init(*init);
    return Reply(message, "init_ok", {});
  }
  const absl::StatusOr<ClusterBackend*> cluster = backend_();
  if (!cluster.ok()) {
    return ErrorReply(message, ErrorCode::kTemporarilyUnavailable,
                      absl::StrCat("there is no cluster: ", cluster.status().message()));
  }
  const auto* heartbeat = std::get_if<HeartbeatRequest>(&request);
  const absl::StatusOr<ReplyFields> fields =
      heartbeat != nullptr
          ? Heartbeat(**cluster, *heartbeat, message.src, read_at)
          : std::visit([&cluster](const auto& body) { return Ask(**cluster, body); }, request);
  if (!fields.ok()) {
    return ErrorReply(message, ErrorCodeOf(fields.status(), request), fields.status().message());
  }
  return Reply(message, absl::StrCat(message.type, "_ok"), *fields);
}

void Dispatcher::Init(const InitRequest& request) {
  node_id_ = request.node_id;
  peers_ = {request.node_ids.begin(), request.node_ids.end()};
}

absl::StatusOr<ReplyFields> Dispatcher::Heartbeat(ClusterBackend& cluster,
                                                  const HeartbeatRequest& request,
                                                  const std::string& sender, SteadyTime read_at) {
  const absl::Duration age = std::max(absl::ZeroDuration(), clock_.SteadyNow() - read_at);
  ASSIGN_OR_RETURN(const HeartbeatOrders orders, cluster.Heartbeat(request.heartbeat, age));
  return HeartbeatFields(orders, peers_.contains(sender));
}

std::string Dispatcher::Reply(const Message& message, absl::string_view type,
                              const ReplyFields& fields) {
  return ReplyLine(message.dest.value_or(node_id_), message.src, type, message.msg_id,
                   next_reply_++, fields);
}

std::string Dispatcher::ErrorReply(const Message& message, ErrorCode code, absl::string_view text) {
  return Reply(message, "error", ErrorFields(code, Excerpt(text, kErrorTextBytes)));
}

bool NeedsCluster(const Request& request) { return !IsOneOf<Refusal, InitRequest>(request); }

ErrorCode ErrorCodeOf(const absl::Status& status, const Request& request) {
  const bool open = Changes(request) && !IsDefinite(status);
  switch (status.code()) {
    case absl::StatusCode::kUnimplemented:
      return ErrorCode::kNotSupported;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return ErrorCode::kMalformedRequest;
    case absl::StatusCode::kNotFound:
      return ErrorCode::kKeyDoesNotExist;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
      return ErrorCode::kPreconditionFailed;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
      return open ? ErrorCode::kTimeout : ErrorCode::kTemporarilyUnavailable;
    case absl::StatusCode::kDeadlineExceeded:
      return ErrorCode::kTimeout;
    default:
      return ErrorCode::kCrash;
  }
}

}  // namespace ballast::gateway
