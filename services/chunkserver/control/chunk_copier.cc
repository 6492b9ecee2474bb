// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/chunk_copier.h"

#include <utility>

#include "common/base/check.h"
#include "services/chunkserver/control/copy_task.h"

namespace ballast::chunkserver {

ChunkCopier::ChunkCopier(ChunkStore& store, PostBlocking post_blocking, ChunkSources& sources,
                         Executor& executor, Clock& clock, const ChunkCopierOptions& options)
    : store_(store),
      post_blocking_(std::move(post_blocking)),
      sources_(sources),
      executor_(executor),
      clock_(clock),
      options_(options) {
  CHECK(options_.message_bytes >= kBlockBytes && options_.message_bytes <= kBulkPayloadBytesMax &&
        options_.message_bytes % kBlockBytes == 0)
      << options_.message_bytes;
}

ChunkCopier::~ChunkCopier() {
  absl::MutexLock lock(&mu_);
  CHECK(tasks_.empty()) << "copies outlive their copier";
}

void ChunkCopier::Copy(CopyOrder order, OnDone on_done) {
  CHECK(order.length_bytes >= 1 && order.length_bytes <= kChunkBytesMax) << order.length_bytes;
  std::shared_ptr<CopyTask> task;
  {
    absl::MutexLock lock(&mu_);
    if (!cancelled_) {
      task = std::make_shared<CopyTask>(*this, std::move(order), std::move(on_done));
      tasks_.insert(task);
    }
  }
  if (task != nullptr) {
    task->Start();
  } else {
    on_done(CopyResult{.status = absl::CancelledError("this server is stopping"), .bytes = 0});
  }
}

void ChunkCopier::Cancel() {
  std::vector<std::shared_ptr<CopyTask>> tasks;
  {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    tasks.assign(tasks_.begin(), tasks_.end());
  }
  for (const std::shared_ptr<CopyTask>& task : tasks) {
    task->Cancel();
  }
}

void ChunkCopier::WaitIdle() {
  absl::MutexLock lock(&mu_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return tasks_.empty(); };
  mu_.Await(absl::Condition(&idle));
}

size_t ChunkCopier::running() {
  absl::MutexLock lock(&mu_);
  return tasks_.size();
}

void ChunkCopier::Ended(const std::shared_ptr<CopyTask>& task) {
  absl::MutexLock lock(&mu_);
  tasks_.erase(task);
}

}  // namespace ballast::chunkserver
