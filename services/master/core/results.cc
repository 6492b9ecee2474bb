// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/results.h"

#include <string>

#include "common/base/check.h"

namespace ballast::master {
namespace {
constexpr size_t kTextBytesMax = 200;
}  // namespace

mlog::Result Refusal(v1::Reason reason, absl::string_view text) {
  mlog::Result result;
  result.set_code(static_cast<uint32_t>(CodeOf(reason)));
  result.set_reason(reason);
  result.set_text(std::string(text.substr(0, kTextBytesMax)));
  return result;
}

mlog::Result Refusal(const absl::Status& status) {
  CHECK(!status.ok());
  v1::Reason reason = ReasonOf(status);
  if (reason == v1::REASON_UNSPECIFIED) reason = v1::REASON_INVALID_ARGUMENT;
  return Refusal(reason, status.message());
}

absl::Status ToStatus(const mlog::Result& result) {
  if (result.code() == 0) return absl::OkStatus();
  v1::ErrorDetail detail;
  detail.set_reason(static_cast<v1::Reason>(result.reason()));
  if (detail.reason() == v1::REASON_WRONG_GROUP) detail.set_config_version(result.config_version());
  return MakeError(detail, result.text());
}

}  // namespace ballast::master
