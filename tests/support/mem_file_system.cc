// SPDX-License-Identifier: Apache-2.0
#include "tests/support/mem_file_system.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace ballast::testing {
namespace {

constexpr uint64_t kSectorBytes = 512;

struct PendingWrite {
  uint64_t offset = 0;
  std::string data;
  bool truncates = false;  // then the file is cut or extended to `offset`
};

void ApplyWrite(std::string& content, const PendingWrite& write) {
  if (write.truncates) {
    content.resize(write.offset, '\0');
    return;
  }
  if (content.size() < write.offset + write.data.size()) {
    content.resize(write.offset + write.data.size(), '\0');
  }
  content.replace(write.offset, write.data.size(), write.data);
}

}  // namespace

struct MemFileSystem::Node {
  bool folder = false;
  std::string content;          // what readers see
  std::string durable_content;  // what was synced
  std::vector<PendingWrite> pending;
};

// A change of names that SyncDir has not made durable.
struct MemFileSystem::Change {
  std::string folder;  // SyncDir of this folder settles it
  std::string path;
  std::shared_ptr<Node> node;  // null: the path is removed
  std::string renamed_from;    // not empty: `renamed_from` is removed in the same instant
};

class MemFileSystem::MemFile final : public File {
 public:
  MemFile(MemFileSystem* fs, std::shared_ptr<Node> node, std::string path, bool writable)
      : fs_(fs), node_(std::move(node)), path_(std::move(path)), writable_(writable) {
    absl::MutexLock lock(&fs_->mu_);
    generation_ = fs_->generation_;
  }

  absl::Status WriteAt(uint64_t offset, absl::string_view data) override {
    CHECK(writable_) << path_;
    RETURN_IF_ERROR(fs_->Begin(absl::StrCat("write ", path_, " ", offset, "+", data.size())));
    absl::MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Alive());
    const uint64_t end = offset + data.size();
    if (end > node_->content.size() &&
        fs_->UsedBytes() + (end - node_->content.size()) > fs_->capacity_bytes_) {
      return absl::ResourceExhaustedError(absl::StrCat("write ", path_, ": disk full"));
    }
    Record(PendingWrite{.offset = offset, .data = std::string(data), .truncates = false});
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> ReadAt(uint64_t offset, size_t bytes, char* out) override {
    absl::MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Alive());
    if (offset >= node_->content.size()) {
      return size_t{0};
    }
    return node_->content.copy(out, bytes, offset);
  }

  absl::Status Sync() override {
    RETURN_IF_ERROR(fs_->Begin(absl::StrCat("sync ", path_)));
    absl::MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Alive());
    if (!fs_->failing_syncs_.empty() && absl::StrContains(path_, fs_->failing_syncs_)) {
      return absl::DataLossError(absl::StrCat("fdatasync ", path_, ": input/output error"));
    }
    for (const PendingWrite& write : node_->pending) {
      ApplyWrite(node_->durable_content, write);
    }
    node_->pending.clear();
    return absl::OkStatus();
  }

  void StartWriteback(uint64_t, uint64_t) override {}

  absl::Status Truncate(uint64_t bytes) override {
    CHECK(writable_) << path_;
    RETURN_IF_ERROR(fs_->Begin(absl::StrCat("truncate ", path_, " ", bytes)));
    absl::MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Alive());
    Record(PendingWrite{.offset = bytes, .data = {}, .truncates = true});
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t bytes) override {
    CHECK(writable_) << path_;
    RETURN_IF_ERROR(fs_->Begin(absl::StrCat("allocate ", path_, " ", bytes)));
    absl::MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Alive());
    if (bytes > node_->content.size()) {
      if (fs_->UsedBytes() + (bytes - node_->content.size()) > fs_->capacity_bytes_) {
        return absl::ResourceExhaustedError(absl::StrCat("allocate ", path_, ": disk full"));
      }
      Record(PendingWrite{.offset = bytes, .data = {}, .truncates = true});
    }
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Size() override {
    absl::MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Alive());
    return node_->content.size();
  }

 private:
  absl::Status Alive() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(fs_->mu_) {
    return generation_ == fs_->generation_
               ? absl::OkStatus()
               : absl::DataLossError(absl::StrCat(path_, ": the machine has crashed"));
  }
  void Record(PendingWrite write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fs_->mu_) {
    ApplyWrite(node_->content, write);
    node_->pending.push_back(std::move(write));
  }

  MemFileSystem* const fs_;
  const std::shared_ptr<Node> node_;
  const std::string path_;
  const bool writable_;
  uint64_t generation_;
};

class MemFileSystem::MemLock final : public FileLock {
 public:
  MemLock(MemFileSystem* fs, std::string path, uint64_t generation)
      : fs_(fs), path_(std::move(path)), generation_(generation) {}
  ~MemLock() override {
    absl::MutexLock lock(&fs_->mu_);
    if (generation_ == fs_->generation_) {
      fs_->locks_.erase(path_);
    }
  }

 private:
  MemFileSystem* const fs_;
  const std::string path_;
  const uint64_t generation_;
};

MemFileSystem::MemFileSystem() {
  auto root = std::make_shared<Node>();
  root->folder = true;
  absl::MutexLock lock(&mu_);
  names_["/"] = root;
  durable_names_["/"] = root;
}

MemFileSystem::~MemFileSystem() = default;

absl::Status MemFileSystem::Begin(const std::string& what) {
  std::function<void(const std::string&)> observer;
  {
    absl::MutexLock lock(&mu_);
    observer = observer_;
  }
  if (observer) {
    observer(what);
  }
  absl::MutexLock lock(&mu_);
  ++operations_;
  if (fail_at_.has_value() && operations_ >= *fail_at_) {
    failed_ = true;
    return absl::DataLossError(absl::StrCat(what, ": the disk is gone"));
  }
  return absl::OkStatus();
}

std::shared_ptr<MemFileSystem::Node> MemFileSystem::Find(const std::string& path) const {
  const auto it = names_.find(path);
  return it == names_.end() ? nullptr : it->second;
}

std::shared_ptr<MemFileSystem::Node> MemFileSystem::Create(const std::string& path, bool folder) {
  auto node = std::make_shared<Node>();
  node->folder = folder;
  names_[path] = node;
  pending_.push_back(
      Change{.folder = ParentPath(path), .path = path, .node = node, .renamed_from = {}});
  return node;
}

absl::Status MemFileSystem::IsFolder(absl::string_view verb, const std::string& path) const {
  const auto node = Find(path);
  if (node == nullptr) {
    return absl::NotFoundError(absl::StrCat(verb, " ", path, ": no such folder"));
  }
  return node->folder ? absl::OkStatus()
                      : absl::InternalError(absl::StrCat(verb, " ", path, ": not a folder"));
}

void MemFileSystem::MakeDurable(const Change& change) {
  if (change.node == nullptr) {
    durable_names_.erase(change.path);
    return;
  }
  if (!change.renamed_from.empty()) {
    // A file has one name: an earlier one, whose own change may have been lost, goes as well.
    for (auto it = durable_names_.begin(); it != durable_names_.end();) {
      it = it->second == change.node ? durable_names_.erase(it) : std::next(it);
    }
  }
  durable_names_[change.path] = change.node;
}

uint64_t MemFileSystem::UsedBytes() const {
  uint64_t used = 0;
  for (const auto& [path, node] : names_) {
    used += node->content.size();
  }
  return used;
}

absl::StatusOr<std::unique_ptr<File>> MemFileSystem::Open(const std::string& path, OpenMode mode) {
  std::shared_ptr<Node> node;
  bool exists = false;
  {
    absl::MutexLock lock(&mu_);
    node = Find(path);
    exists = node != nullptr;
    if (exists && node->folder) {
      return absl::InternalError(absl::StrCat("open ", path, ": is a folder"));
    }
    if (exists && mode == OpenMode::kCreateExclusive) {
      return absl::AlreadyExistsError(absl::StrCat("open ", path, ": exists"));
    }
    const bool creates = mode == OpenMode::kCreate || mode == OpenMode::kCreateExclusive;
    if (!exists && (!creates || Find(ParentPath(path)) == nullptr)) {
      return absl::NotFoundError(absl::StrCat("open ", path, ": no such file or folder"));
    }
  }
  if (!exists) {
    RETURN_IF_ERROR(Begin(absl::StrCat("create ", path)));
    absl::MutexLock lock(&mu_);
    node = Find(path);
    if (node != nullptr && mode == OpenMode::kCreateExclusive) {
      return absl::AlreadyExistsError(absl::StrCat("open ", path, ": exists"));
    }
    if (node == nullptr) {
      node = Create(path, /*folder=*/false);
    }
  }
  return std::make_unique<MemFile>(this, node, path, mode != OpenMode::kRead);
}

absl::Status MemFileSystem::Rename(const std::string& from, const std::string& to) {
  return RenameImpl(from, to, /*exclusive=*/false);
}

absl::Status MemFileSystem::RenameExclusive(const std::string& from, const std::string& to) {
  return RenameImpl(from, to, /*exclusive=*/true);
}

absl::Status MemFileSystem::RenameImpl(const std::string& from, const std::string& to,
                                       bool exclusive) {
  RETURN_IF_ERROR(Begin(absl::StrCat("rename ", from, " ", to)));
  absl::MutexLock lock(&mu_);
  const auto node = Find(from);
  if (node == nullptr || Find(ParentPath(to)) == nullptr) {
    return absl::NotFoundError(absl::StrCat("rename ", from, " to ", to, ": no such file"));
  }
  CHECK(!node->folder) << "folders are not renamed here";
  const auto replaced = Find(to);
  if (exclusive && replaced != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat("rename to ", to, ": exists"));
  }
  if (replaced == node) {
    return absl::OkStatus();
  }
  if (replaced != nullptr && replaced->folder) {
    return absl::InternalError(absl::StrCat("rename to ", to, ": is a folder"));
  }
  names_[to] = node;
  names_.erase(from);
  pending_.push_back(
      Change{.folder = ParentPath(to), .path = to, .node = node, .renamed_from = from});
  return absl::OkStatus();
}

absl::Status MemFileSystem::Remove(const std::string& path) {
  RETURN_IF_ERROR(Begin(absl::StrCat("remove ", path)));
  absl::MutexLock lock(&mu_);
  const auto node = Find(path);
  if (node == nullptr) {
    return absl::NotFoundError(absl::StrCat("remove ", path, ": no such file"));
  }
  if (node->folder) {
    const auto next = names_.upper_bound(path + "/");
    if (next != names_.end() && absl::StartsWith(next->first, path + "/")) {
      return absl::AlreadyExistsError(absl::StrCat("remove ", path, ": folder is not empty"));
    }
  }
  names_.erase(path);
  pending_.push_back(
      Change{.folder = ParentPath(path), .path = path, .node = nullptr, .renamed_from = {}});
  return absl::OkStatus();
}

absl::Status MemFileSystem::CreateDir(const std::string& path) {
  {
    absl::MutexLock lock(&mu_);
    const auto node = Find(path);
    if (node != nullptr && node->folder) {
      return absl::OkStatus();
    }
    if (node != nullptr) {
      return absl::AlreadyExistsError(absl::StrCat("create folder ", path, ": a file is there"));
    }
    if (Find(ParentPath(path)) == nullptr) {
      return absl::NotFoundError(absl::StrCat("create folder ", path, ": no parent"));
    }
  }
  RETURN_IF_ERROR(Begin(absl::StrCat("create folder ", path)));
  absl::MutexLock lock(&mu_);
  if (Find(path) == nullptr) {
    Create(path, /*folder=*/true);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> MemFileSystem::List(const std::string& path) {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(IsFolder("list", path));
  const std::string prefix = path == "/" ? "/" : path + "/";
  std::vector<std::string> names;
  for (auto it = names_.upper_bound(prefix);
       it != names_.end() && absl::StartsWith(it->first, prefix); ++it) {
    const std::string name = it->first.substr(prefix.size());
    if (!absl::StrContains(name, '/')) {
      names.push_back(name);
    }
  }
  return names;
}

absl::StatusOr<bool> MemFileSystem::Exists(const std::string& path) {
  absl::MutexLock lock(&mu_);
  return Find(path) != nullptr;
}

absl::StatusOr<uint64_t> MemFileSystem::FileSize(const std::string& path) {
  absl::MutexLock lock(&mu_);
  const auto node = Find(path);
  if (node == nullptr) {
    return absl::NotFoundError(absl::StrCat("stat ", path, ": no such file"));
  }
  return node->content.size();
}

absl::Status MemFileSystem::SyncDir(const std::string& path) {
  RETURN_IF_ERROR(Begin(absl::StrCat("sync folder ", path)));
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(IsFolder("sync folder", path));
  std::vector<Change> left;
  for (Change& change : pending_) {
    if (change.folder != path) {
      left.push_back(std::move(change));
      continue;
    }
    if (!change.renamed_from.empty()) {
      // The file's earlier names, in whatever folder, are history now.
      left.erase(std::remove_if(left.begin(), left.end(),
                                [&](const Change& c) { return c.node == change.node; }),
                 left.end());
    }
    MakeDurable(change);
  }
  pending_ = std::move(left);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FileLock>> MemFileSystem::Lock(const std::string& path) {
  RETURN_IF_ERROR(Open(path, OpenMode::kCreate).status());
  absl::MutexLock lock(&mu_);
  if (!locks_.insert(path).second) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is locked: another process is using this folder"));
  }
  return std::make_unique<MemLock>(this, path, generation_);
}

absl::StatusOr<SpaceInfo> MemFileSystem::Space(const std::string&) {
  absl::MutexLock lock(&mu_);
  const uint64_t used = UsedBytes();
  return SpaceInfo{.capacity_bytes = capacity_bytes_,
                   .free_bytes = used < capacity_bytes_ ? capacity_bytes_ - used : 0};
}

void MemFileSystem::Crash(Rng* rng) {
  absl::MutexLock lock(&mu_);
  ++generation_;
  locks_.clear();
  fail_at_.reset();
  failed_ = false;
  failing_syncs_.clear();
  for (const Change& change : pending_) {
    if (rng == nullptr || rng->OneIn(2)) {
      continue;
    }
    MakeDurable(change);
  }
  pending_.clear();
  // A name below a folder that did not survive is gone with it.
  for (auto it = durable_names_.begin(); it != durable_names_.end();) {
    const bool orphan = it->first != "/" && durable_names_.count(ParentPath(it->first)) == 0;
    it = orphan ? durable_names_.erase(it) : std::next(it);
  }
  for (const auto& [path, node] : durable_names_) {
    for (PendingWrite& write : node->pending) {
      if (rng == nullptr || rng->OneIn(2)) {
        continue;
      }
      if (!write.truncates && write.data.size() > 1 && rng->OneIn(3)) {
        // Torn: a prefix up to a sector boundary of the file.
        const uint64_t cut = write.offset + rng->Below(write.data.size());
        const uint64_t end = cut / kSectorBytes * kSectorBytes;
        write.data.resize(end > write.offset ? end - write.offset : 0);
      }
      if (write.truncates || !write.data.empty()) {
        ApplyWrite(node->durable_content, write);
      }
    }
    node->pending.clear();
    node->content = node->durable_content;
  }
  names_ = durable_names_;
}

void MemFileSystem::EndProcess() {
  absl::MutexLock lock(&mu_);
  ++generation_;
  locks_.clear();
  fail_at_.reset();
  failed_ = false;
  failing_syncs_.clear();
}

std::optional<std::string> MemFileSystem::DurableContent(const std::string& path) const {
  absl::MutexLock lock(&mu_);
  const auto it = durable_names_.find(path);
  if (it == durable_names_.end() || it->second->folder || names_.count(path) == 0) {
    return std::nullopt;
  }
  return it->second->durable_content;
}

uint64_t MemFileSystem::operations() const {
  absl::MutexLock lock(&mu_);
  return operations_;
}

void MemFileSystem::FailAfter(uint64_t n) {
  CHECK_GT(n, 0u);
  absl::MutexLock lock(&mu_);
  fail_at_ = operations_ + n;
}

bool MemFileSystem::failed() const {
  absl::MutexLock lock(&mu_);
  return failed_;
}

void MemFileSystem::FailSyncs(const std::string& part) {
  absl::MutexLock lock(&mu_);
  failing_syncs_ = part;
}

void MemFileSystem::SetObserver(std::function<void(const std::string&)> observer) {
  absl::MutexLock lock(&mu_);
  observer_ = std::move(observer);
}

void MemFileSystem::SetSpace(uint64_t capacity_bytes) {
  absl::MutexLock lock(&mu_);
  capacity_bytes_ = capacity_bytes;
}

absl::Status MemFileSystem::FlipBit(const std::string& path, uint64_t byte, int bit) {
  absl::MutexLock lock(&mu_);
  const auto node = Find(path);
  if (node == nullptr || byte >= node->content.size()) {
    return absl::NotFoundError(absl::StrCat(path, ": no such byte"));
  }
  node->content[byte] = static_cast<char>(node->content[byte] ^ (1 << bit));
  if (byte < node->durable_content.size()) {
    node->durable_content[byte] = static_cast<char>(node->durable_content[byte] ^ (1 << bit));
  }
  return absl::OkStatus();
}

std::vector<std::string> MemFileSystem::Files() const {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> paths;
  for (const auto& [path, node] : names_) {
    if (!node->folder) {
      paths.push_back(path);
    }
  }
  return paths;
}

}  // namespace ballast::testing
