// SPDX-License-Identifier: Apache-2.0
#include "gateway/value_store.h"

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/byte_units.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/key.h"

namespace ballast::gateway {
namespace {

// What a message may be long, and so a value that one is to carry.
constexpr uint64_t kReadBytesMax = MiB(16);

}  // namespace

absl::Status ValueStore::CheckKey(const std::string& key) const {
  return !options_.reserved_prefix.empty() && absl::StartsWith(key, options_.reserved_prefix)
             ? InvalidArgument("keys that begin with U+10FFFF are not for values")
             : absl::OkStatus();
}

absl::StatusOr<ValueStore::Found> ValueStore::Get(const std::string& key) {
  RETURN_IF_ERROR(CheckKey(key));
  Found found;
  const std::unique_ptr<client::Sink> sink = client::MakeStringSink(&found.value, kReadBytesMax);
  const auto result = client_.Get(key, *sink, client::GetOptions());
  if (absl::IsResourceExhausted(result.status()) &&
      ReasonOf(result.status()) == v1::REASON_UNSPECIFIED) {
    return InvalidArgument(absl::StrCat("the object is longer than ", FormatBytes(kReadBytesMax)));
  }
  RETURN_IF_ERROR(result.status());
  if (!IsValidUtf8(found.value)) {
    return InvalidArgument("the object is no text (UTF-8)");
  }
  found.generation = result->object.generation();
  return found;
}

absl::Status ValueStore::Put(const std::string& key, const std::string& value,
                             std::optional<uint64_t> generation) {
  RETURN_IF_ERROR(CheckKey(key));
  if (options_.value_bytes_max.has_value() && value.size() > *options_.value_bytes_max) {
    return InvalidArgument(absl::StrCat("the value has ", value.size(), " bytes; at most ",
                                        *options_.value_bytes_max, " are kept here"));
  }
  client::PutOptions put;
  put.if_generation_match = generation;
  const std::unique_ptr<client::Source> source = client::MakeStringSource(value);
  return client_.Put(key, *source, put).status();
}

absl::StatusOr<std::string> ValueStore::Read(const std::string& key) {
  ASSIGN_OR_RETURN(Found found, Get(key));
  return std::move(found.value);
}

absl::Status ValueStore::Write(const std::string& key, const std::string& value) {
  return Put(key, value, std::nullopt);
}

absl::Status ValueStore::CompareAndSet(const std::string& key, const std::string& from,
                                       const std::string& to) {
  while (true) {
    ASSIGN_OR_RETURN(const Found found, Get(key));
    if (found.value != from) {
      return absl::FailedPreconditionError("the value is another one");
    }
    const absl::Status status = Put(key, to, found.generation);
    if (ReasonOf(status) != v1::REASON_GENERATION_MISMATCH) {
      return status;
    }
    // Somebody else wrote in between; whether the value is the wanted one is to be seen anew.
  }
}

}  // namespace ballast::gateway
