// SPDX-License-Identifier: Apache-2.0
#include "common/types/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/strip.h"

namespace ballast {
namespace {

constexpr char kTypeUrl[] = "type.googleapis.com/ballast.v1.ErrorDetail";

}  // namespace

absl::StatusCode CodeOf(v1::Reason reason) {
  switch (reason) {
    case v1::REASON_NOT_LEADER:
    case v1::REASON_NOT_READY:
    case v1::REASON_OUTCOME_UNKNOWN:
    case v1::REASON_CHUNK_UNAVAILABLE:
    case v1::REASON_CHAIN_FAILED:
    case v1::REASON_COPY_FAILED:
    case v1::REASON_PEER_UNREACHABLE:
      return absl::StatusCode::kUnavailable;
    case v1::REASON_WRONG_GROUP:
    case v1::REASON_WRONG_CLUSTER:
    case v1::REASON_GENERATION_MISMATCH:
    case v1::REASON_TOO_FEW_SERVERS:
    case v1::REASON_VERSION_MISMATCH:
    case v1::REASON_NOT_SUPPORTED_YET:
    case v1::REASON_REPLICA_EXISTS:
    case v1::REASON_NOT_HOLDER:
    case v1::REASON_OBJECT_INLINE:
      return absl::StatusCode::kFailedPrecondition;
    case v1::REASON_OVERLOADED:
    case v1::REASON_NO_SPACE:
    case v1::REASON_REGISTRY_FULL:
    case v1::REASON_POOLS_FULL:
      return absl::StatusCode::kResourceExhausted;
    case v1::REASON_SESSION_EXPIRED:
    case v1::REASON_GENERATION_GONE:
    case v1::REASON_DRAFT_ENDED:
    case v1::REASON_STALE_BOOT:
    case v1::REASON_STALE_FENCE:
      return absl::StatusCode::kAborted;
    case v1::REASON_OBJECT_NOT_FOUND:
    case v1::REASON_CHUNK_NOT_FOUND:
    case v1::REASON_REPLICA_NOT_FOUND:
    case v1::REASON_UNKNOWN_SERVER:
    case v1::REASON_UNKNOWN_GROUP:
    case v1::REASON_UNKNOWN_VERSION:
    case v1::REASON_POOL_NOT_FOUND:
      return absl::StatusCode::kNotFound;
    case v1::REASON_INVALID_ARGUMENT:
    case v1::REASON_REQUEST_REUSED:
      return absl::StatusCode::kInvalidArgument;
    case v1::REASON_OUT_OF_RANGE:
      return absl::StatusCode::kOutOfRange;
    case v1::REASON_CHUNK_EXISTS:
    case v1::REASON_DUPLICATE_SERVER:
    case v1::REASON_POOL_EXISTS:
      return absl::StatusCode::kAlreadyExists;
    case v1::REASON_CHECKSUM_MISMATCH:
      return absl::StatusCode::kDataLoss;
    default:
      return absl::StatusCode::kUnknown;
  }
}

absl::string_view ReasonName(v1::Reason reason) {
  const std::string& name = v1::Reason_Name(reason);
  return name.empty() ? "UNSPECIFIED" : absl::StripPrefix(name, "REASON_");
}

absl::Status MakeError(v1::Reason reason, absl::string_view text) {
  v1::ErrorDetail detail;
  detail.set_reason(reason);
  return MakeError(detail, text);
}

absl::Status MakeError(const v1::ErrorDetail& detail, absl::string_view text) {
  absl::Status status(CodeOf(detail.reason()), text);
  status.SetPayload(kTypeUrl, absl::Cord(detail.SerializeAsString()));
  return status;
}

std::optional<v1::ErrorDetail> DetailOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kTypeUrl);
  if (!payload.has_value()) {
    return std::nullopt;
  }
  v1::ErrorDetail detail;
  if (!detail.ParseFromString(std::string(*payload))) {
    return std::nullopt;
  }
  return detail;
}

v1::Reason ReasonOf(const absl::Status& status) {
  const auto detail = DetailOf(status);
  return detail.has_value() ? detail->reason() : v1::REASON_UNSPECIFIED;
}

absl::Status NotLeaderError(absl::string_view leader_address) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::REASON_NOT_LEADER);
  if (leader_address.empty()) {
    return MakeError(detail, "not the leader, and no leader is known");
  }
  detail.set_leader_address(std::string(leader_address));
  return MakeError(detail, absl::StrCat("not the leader; ask ", leader_address));
}

absl::Status NotReadyError(absl::string_view text, absl::Duration retry_after) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::REASON_NOT_READY);
  detail.set_retry_after_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(retry_after)));
  return MakeError(detail, text);
}

absl::Status WrongGroupError(uint64_t config_version, absl::string_view text) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::REASON_WRONG_GROUP);
  detail.set_config_version(config_version);
  return MakeError(detail, text);
}

absl::Status InvalidArgument(absl::string_view text) {
  return MakeError(v1::REASON_INVALID_ARGUMENT, text);
}

bool IsDefinite(const absl::Status& status) {
  const v1::Reason reason = ReasonOf(status);
  if (reason == v1::REASON_OUTCOME_UNKNOWN || reason == v1::REASON_SESSION_EXPIRED) {
    return false;
  }
  if (reason != v1::REASON_UNSPECIFIED) {
    return true;
  }
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

}  // namespace ballast
