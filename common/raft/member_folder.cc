// SPDX-License-Identifier: Apache-2.0
#include "common/raft/member_folder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast {
namespace {

constexpr char kTitle[] = "ballast member folder, format 1";
constexpr uint64_t kIdentityBytesMax = KiB(4);

std::string IdentityPath(const std::string& folder) { return JoinPath(folder, "identity"); }

absl::Status Validate(const MemberIdentity& identity) {
  if (identity.service.empty() ||
      identity.service.find_first_not_of("abcdefghijklmnopqrstuvwxyz") != std::string::npos) {
    return InvalidArgument("a service has a name of lower-case letters");
  }
  if (!IsUuid(identity.cluster_id)) {
    return InvalidArgument("a cluster id is a UUID in lower case");
  }
  if (identity.shard_count < 1 || identity.shard_count > kShardsMax) {
    return InvalidArgument(absl::StrCat("a cluster has 1 to ", kShardsMax, " shards"));
  }
  if (identity.AddressOf(identity.node).empty()) {
    return InvalidArgument(
        absl::StrCat("node ", identity.node.value(), " is not one of the voters"));
  }
  return absl::OkStatus();
}

std::string Encode(const MemberIdentity& identity) {
  std::string body =
      absl::StrCat(kTitle, "\nservice ", identity.service, "\ncluster ", identity.cluster_id,
                   "\nshards ", identity.shard_count, "\ngroup ", identity.group.value(), "\nnode ",
                   identity.node.value(), "\n");
  for (const MasterEndpoint& voter : identity.voters) {
    absl::StrAppend(&body, "voter ", voter.node.value(), "=", voter.address, "\n");
  }
  const std::string seal = absl::StrFormat("crc32c %08x\n", ComputeCrc32c(body).value);
  return body + seal;
}

// Strict: what Encode would not write is not read.
absl::StatusOr<MemberIdentity> Decode(const std::string& path, const std::string& text) {
  const absl::Status damaged = absl::DataLossError(absl::StrCat(path, " is damaged"));
  MemberIdentity identity;
  std::vector<std::string> voters;
  uint32_t group = 0;
  uint32_t node = 0;
  bool numbers = true;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (field.first == "service") {
      identity.service = std::string(field.second);
    } else if (field.first == "cluster") {
      identity.cluster_id = std::string(field.second);
    } else if (field.first == "shards") {
      numbers = numbers && absl::SimpleAtoi(field.second, &identity.shard_count);
    } else if (field.first == "group") {
      numbers = numbers && absl::SimpleAtoi(field.second, &group);
    } else if (field.first == "node") {
      numbers = numbers && absl::SimpleAtoi(field.second, &node);
    } else if (field.first == "voter") {
      voters.emplace_back(field.second);
    }
  }
  identity.group = GroupId(group);
  identity.node = NodeId(node);
  auto parsed = ParseVoters(voters);
  if (!numbers || !parsed.ok()) {
    return damaged;
  }
  identity.voters = *std::move(parsed);
  if (!Validate(identity).ok() || Encode(identity) != text) {
    return damaged;
  }
  return identity;
}

absl::Status CheckFormattable(FileSystem& fs, const std::string& folder) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs.List(folder));
  for (const std::string& name : names) {
    if (name == "identity") {
      return absl::AlreadyExistsError(absl::StrCat(folder, " is formatted already"));
    }
    // What an interrupted format can have left.
    if (name != "lock" && name != "log" && !absl::StartsWith(name, "identity.")) {
      return absl::FailedPreconditionError(absl::StrCat(folder, " is not empty: it holds ", name));
    }
  }
  return absl::OkStatus();
}

// A folder with all that is in it; no such folder is OK.
absl::Status RemoveTree(FileSystem& fs, const std::string& path) {
  const auto names = fs.List(path);
  if (names.ok()) {
    for (const std::string& name : *names) {
      RETURN_IF_ERROR(RemoveTree(fs, JoinPath(path, name)));
    }
  }
  const absl::Status status = fs.Remove(path);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::StatusOr<std::unique_ptr<FileLock>> LockFolder(FileSystem& fs, const std::string& folder) {
  auto lock = fs.Lock(JoinPath(folder, "lock"));
  if (lock.status().code() == absl::StatusCode::kFailedPrecondition) {
    return absl::FailedPreconditionError(
        absl::StrCat("another process is running on the folder ", folder));
  }
  return lock;
}

}  // namespace

const std::string& MemberIdentity::address() const {
  for (const MasterEndpoint& voter : voters) {
    if (voter.node == node) {
      return voter.address;
    }
  }
  CHECK(false) << "node " << node << " is no voter";
  return service;
}

std::string MemberIdentity::AddressOf(NodeId id) const {
  for (const MasterEndpoint& voter : voters) {
    if (voter.node == id) {
      return voter.address;
    }
  }
  return "";
}

absl::StatusOr<std::vector<MasterEndpoint>> ParseVoters(const std::vector<std::string>& voters) {
  v1::GroupInfo group;
  group.set_group_id(1);
  for (const std::string& voter : voters) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(voter, absl::MaxSplits('=', 1));
    uint32_t node = 0;
    if (!absl::SimpleAtoi(parts.first, &node)) {
      return InvalidArgument(
          absl::StrCat("'", voter, "' is not a voter of the form NODE=HOST:PORT"));
    }
    v1::MasterAddress* added = group.add_masters();
    added->set_node_id(node);
    added->set_address(std::string(parts.second));
  }
  RETURN_IF_ERROR(ValidateGroup(group));
  std::vector<MasterEndpoint> parsed;
  for (const v1::MasterAddress& master : group.masters()) {
    parsed.push_back({NodeId(master.node_id()), master.address()});
  }
  std::sort(parsed.begin(), parsed.end(),
            [](const MasterEndpoint& a, const MasterEndpoint& b) { return a.node < b.node; });
  return parsed;
}

absl::Status FormatMemberFolder(FileSystem& fs, const std::string& folder,
                                const MemberIdentity& identity,
                                absl::AnyInvocable<absl::Status(const std::string&)> make_log) {
  RETURN_IF_ERROR(Validate(identity));
  RETURN_IF_ERROR(fs.CreateDir(folder));
  RETURN_IF_ERROR(CheckFormattable(fs, folder));
  ASSIGN_OR_RETURN(const std::unique_ptr<FileLock> lock, LockFolder(fs, folder));
  RETURN_IF_ERROR(CheckFormattable(fs, folder));  // another format may have just ended
  RETURN_IF_ERROR(fs.SyncDir(ParentPath(folder)));
  const std::string log = JoinPath(folder, "log");
  RETURN_IF_ERROR(RemoveTree(fs, log));  // of an interrupted format, perhaps of another cluster
  RETURN_IF_ERROR(fs.CreateDir(log));
  RETURN_IF_ERROR(fs.SyncDir(folder));
  RETURN_IF_ERROR(make_log(log));
  return WriteFileAtomically(fs, IdentityPath(folder), Encode(identity));
}

MemberFolder::MemberFolder(std::string folder, std::unique_ptr<FileLock> lock,
                           MemberIdentity identity)
    : folder_(std::move(folder)), lock_(std::move(lock)), identity_(std::move(identity)) {}

absl::StatusOr<std::unique_ptr<MemberFolder>> MemberFolder::Open(FileSystem& fs,
                                                                 const std::string& folder,
                                                                 absl::string_view service) {
  ASSIGN_OR_RETURN(const bool formatted, fs.Exists(IdentityPath(folder)));
  if (!formatted) {
    return absl::NotFoundError(absl::StrCat(folder, " is not formatted: run '", service,
                                            " format --folder ", folder, "' first"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, LockFolder(fs, folder));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(fs, IdentityPath(folder), kIdentityBytesMax));
  ASSIGN_OR_RETURN(MemberIdentity identity, Decode(IdentityPath(folder), text));
  if (identity.service != service) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder, " is the folder of a ", identity.service, ", not of a ", service));
  }
  return std::unique_ptr<MemberFolder>(
      new MemberFolder(folder, std::move(lock), std::move(identity)));
}

}  // namespace ballast
