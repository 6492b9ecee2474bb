// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/store_directory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast::chunkserver {
namespace {

// Of an id that a stranger sent, so much is repeated to him.
constexpr size_t kIdShownMax = 64;

}  // namespace

bool StoreDirectory::Add(ServedStore served) {
  CHECK(!served.server_id.empty() && served.store != nullptr);
  absl::MutexLock lock(&mu_);
  std::string id = served.server_id;
  return served_.emplace(std::move(id), std::move(served)).second;
}

absl::StatusOr<const ServedStore*> StoreDirectory::Find(absl::string_view server_id) const {
  absl::MutexLock lock(&mu_);
  const auto it = served_.find(server_id);
  if (it != served_.end()) {
    return &it->second;
  }
  const std::string who = served_.size() == 1
                              ? absl::StrCat("this is chunk server ", served_.begin()->first)
                              : absl::StrCat("none of the ", served_.size(), " chunk servers here");
  return MakeError(v1::REASON_UNKNOWN_SERVER,
                   absl::StrCat(who, ", not ", server_id.substr(0, kIdShownMax)));
}

absl::StatusOr<const ServedStore*> StoreDirectory::FindOrOnly(absl::string_view server_id) const {
  if (!server_id.empty()) {
    return Find(server_id);
  }
  absl::MutexLock lock(&mu_);
  if (served_.size() == 1) {
    return &served_.begin()->second;
  }
  if (served_.empty()) {
    return MakeError(v1::REASON_UNKNOWN_SERVER, "no chunk server is here yet");
  }
  return InvalidArgument(
      absl::StrCat("there are ", served_.size(), " chunk servers here: name one by server_id"));
}

}  // namespace ballast::chunkserver
