// SPDX-License-Identifier: Apache-2.0
#include "client/object_lister.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/limits.h"

namespace ballast::client {

absl::Status ObjectLister::Start() {
  ASSIGN_OR_RETURN(const auto groups, metadata_.routing().Groups());
  for (const GroupId group : groups) {
    cursors_.push_back(Cursor{group, last_key_, true, {}});
  }
  started_ = true;
  return absl::OkStatus();
}

absl::Status ObjectLister::Fill(Cursor& cursor, size_t limit) {
  while (cursor.page.empty() && cursor.more) {
    v1::ListObjectsRequest request;
    request.set_prefix(prefix_);
    request.set_start_after(cursor.last_key);
    request.set_limit(static_cast<uint32_t>(std::min(limit, kListPageMax)));
    ASSIGN_OR_RETURN(auto page, metadata_.ListPage(cursor.group, request, control_));
    for (v1::ObjectInfo& object : *page.mutable_objects()) {
      if (object.key() <= cursor.last_key || !absl::StartsWith(object.key(), prefix_)) {
        return absl::InternalError(
            absl::StrCat("group ", cursor.group.value(), " listed a key out of order"));
      }
      cursor.last_key = object.key();
      cursor.page.push_back(std::move(object));
    }
    if (page.more() && cursor.page.empty()) {
      return absl::InternalError(
          absl::StrCat("group ", cursor.group.value(), " listed an empty page, but not the last"));
    }
    cursor.more = page.more();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::ObjectInfo>> ObjectLister::Next(size_t limit) {
  CHECK_GE(limit, 1u);
  if (!started_) {
    RETURN_IF_ERROR(Start());
  }
  std::vector<v1::ObjectInfo> objects;
  while (objects.size() < limit) {
    Cursor* first = nullptr;
    for (Cursor& cursor : cursors_) {
      RETURN_IF_ERROR(Fill(cursor, limit - objects.size()));
      if (!cursor.page.empty() &&
          (first == nullptr || cursor.page.front().key() < first->page.front().key())) {
        first = &cursor;
      }
    }
    if (first == nullptr) {
      break;
    }
    v1::ObjectInfo object = std::move(first->page.front());
    first->page.pop_front();
    // The same key from two groups: its shard migrated between their pages.
    if (object.key() > last_key_) {
      last_key_ = object.key();
      objects.push_back(std::move(object));
    }
  }
  return objects;
}

}  // namespace ballast::client
