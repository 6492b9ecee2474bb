// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/source_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast::chunkserver {

std::optional<SourcePlan::Try> SourcePlan::Next() const {
  if (failures_.size() == names_.size()) {
    return std::nullopt;
  }
  return Try{.source = failures_.size(), .new_connection = again_};
}

void SourcePlan::OnFailed(const Failure& failure) {
  CHECK_LT(failures_.size(), names_.size());
  const bool was_dead = absl::IsUnavailable(failure.status) &&
                        ReasonOf(failure.status) == v1::REASON_UNSPECIFIED &&
                        failure.connection_was_idle && !failure.got_bytes;
  if (was_dead && !again_) {
    again_ = true;
    return;
  }
  again_ = false;
  failures_.push_back(failure.status);
}

absl::Status SourcePlan::GiveUp(size_t text_bytes_max) const {
  // Each source has its share, so that the last one is told of, too.
  const size_t share = text_bytes_max / std::max<size_t>(failures_.size(), 1);
  std::string text;
  for (size_t i = 0; i < failures_.size(); ++i) {
    std::string one = absl::StrCat(i == 0 ? "" : "; ", names_[i], ": ", failures_[i].message());
    one.resize(std::min(one.size(), share));
    text += one;
  }
  return MakeError(v1::REASON_COPY_FAILED, text);
}

}  // namespace ballast::chunkserver
