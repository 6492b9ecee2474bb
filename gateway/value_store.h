// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"

namespace ballast::gateway {

struct ValueStoreOptions {
  // Keys that begin so are INVALID_ARGUMENT: they are somebody else's. Empty: none are.
  std::string reserved_prefix;
  // A longer value is INVALID_ARGUMENT. Absent: as long as a message may be.
  std::optional<uint64_t> value_bytes_max;
};

// The values of read, write and cas messages: objects of the cluster, by the client library.
//
// Guarantees: linearizable, a key at a time. A write that failed with OUTCOME_UNKNOWN may have
// happened; any other error means that nothing did.
// Concurrency: thread-safe; calls block. Ownership: `client` outlives it.
// Failure, besides the client's: as ClusterBackend says of Read, Write and CompareAndSet;
// INVALID_ARGUMENT for an object that is no text, or too long for a message.
class ValueStore {
 public:
  ValueStore(client::Client& client, ValueStoreOptions options)
      : client_(client), options_(std::move(options)) {}

  absl::StatusOr<std::string> Read(const std::string& key);
  absl::Status Write(const std::string& key, const std::string& value);
  absl::Status CompareAndSet(const std::string& key, const std::string& from,
                             const std::string& to);

 private:
  struct Found {
    std::string value;
    uint64_t generation = 0;
  };
  absl::Status CheckKey(const std::string& key) const;
  absl::StatusOr<Found> Get(const std::string& key);
  absl::Status Put(const std::string& key, const std::string& value,
                   std::optional<uint64_t> generation);

  client::Client& client_;
  const ValueStoreOptions options_;
};

}  // namespace ballast::gateway
