// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/metadata_client.h"

namespace ballast::client {

// Walks all objects whose key starts with a prefix, in the order of key bytes, over all groups.
//
// Guarantees: keys rise strictly. An object that exists, unchanged, during the whole walk is seen
// exactly once; of others, each page shows a state that was current when it was fetched. Holds one
// page of each group.
// Concurrency: one thread. Ownership: `metadata` must outlive it.
// Failure: MetadataClient's; INTERNAL for a page that is out of order.
class ObjectLister {
 public:
  // Begins after `start_after`, which need not exist; empty: at the front.
  ObjectLister(MetadataClient& metadata, std::string prefix, std::string start_after,
               CallControl control)
      : metadata_(metadata),
        prefix_(std::move(prefix)),
        last_key_(std::move(start_after)),
        control_(control) {}

  // The next objects, at most `limit` >= 1; fewer only at the end.
  absl::StatusOr<std::vector<v1::ObjectInfo>> Next(size_t limit);

 private:
  struct Cursor {
    GroupId group;
    std::string last_key;  // the last one fetched
    bool more = true;
    std::deque<v1::ObjectInfo> page;
  };
  absl::Status Start();
  absl::Status Fill(Cursor& cursor, size_t limit);

  MetadataClient& metadata_;
  const std::string prefix_;
  std::string last_key_;  // returned last
  const CallControl control_;
  bool started_ = false;
  std::vector<Cursor> cursors_;
};

}  // namespace ballast::client
