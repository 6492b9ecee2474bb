// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/env/file_system.h"
#include "common/types/ids.h"
#include "common/types/shard_config.h"

// The folder of one member of a replicated group: who it is, fixed when it is formatted, and the
// lock that keeps a second process out. The log lives in a folder below it.
//
//   identity   text that people can read, closed by a CRC32C line
//   lock       empty; locked by the running process
//   log/       common/raft's own

namespace ballast {

struct MemberIdentity {
  std::string service;     // "shardctl" or "master": one does not open the other's folder
  std::string cluster_id;  // UUID
  uint32_t shard_count = 0;
  GroupId group;                       // 0 for shardctl's own log
  NodeId node;                         // one of `voters`
  std::vector<MasterEndpoint> voters;  // 1, 3 or 5, by node id

  // The address under which the others know this member.
  const std::string& address() const;
  // Empty if there is no such voter.
  std::string AddressOf(NodeId id) const;
};

// "1=HOST:PORT,2=HOST:PORT,...": 1, 3 or 5 voters in any order. INVALID_ARGUMENT otherwise.
absl::StatusOr<std::vector<MasterEndpoint>> ParseVoters(const std::vector<std::string>& voters);

// Makes `folder` (its parent must exist) with this identity. `make_log` gets the path of the empty
// folder for the log and makes it durable. The identity is written last, so a crash leaves a folder
// that can be formatted again. Durable on return.
//   INVALID_ARGUMENT      the identity breaks a rule above
//   ALREADY_EXISTS        formatted already; untouched
//   FAILED_PRECONDITION   it holds something else, or a process has it
//   whatever make_log says
absl::Status FormatMemberFolder(FileSystem& fs, const std::string& folder,
                                const MemberIdentity& identity,
                                absl::AnyInvocable<absl::Status(const std::string&)> make_log);

// Holds the folder's lock until destroyed.
class MemberFolder {
 public:
  //   NOT_FOUND             not formatted
  //   FAILED_PRECONDITION   formatted for another service, or another process has it
  //   DATA_LOSS             the identity is damaged
  static absl::StatusOr<std::unique_ptr<MemberFolder>> Open(FileSystem& fs,
                                                            const std::string& folder,
                                                            absl::string_view service);

  const MemberIdentity& identity() const { return identity_; }
  // Where the log is; exists.
  std::string log_folder() const { return JoinPath(folder_, "log"); }

 private:
  MemberFolder(std::string folder, std::unique_ptr<FileLock> lock, MemberIdentity identity);

  const std::string folder_;
  const std::unique_ptr<FileLock> lock_;
  const MemberIdentity identity_;
};

}  // namespace ballast
