// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/buffer_pool.h"

#include <cstdlib>

#include "common/base/check.h"

namespace ballast {
namespace {

constexpr size_t kPageBytes = 4096;

}  // namespace

std::shared_ptr<BufferPool> BufferPool::Make(size_t buffer_bytes, size_t kept_max) {
  CHECK(buffer_bytes > 0 && buffer_bytes % kPageBytes == 0) << buffer_bytes;
  return std::shared_ptr<BufferPool>(new BufferPool(buffer_bytes, kept_max));
}

BufferPool::~BufferPool() {
  absl::MutexLock lock(&mu_);
  for (char* data : free_) {
    std::free(data);
  }
}

BufferPool::Buffer::~Buffer() { pool_->Return(data_); }

std::unique_ptr<BufferPool::Buffer> BufferPool::Take() {
  char* data = nullptr;
  {
    absl::MutexLock lock(&mu_);
    if (!free_.empty()) {
      data = free_.back();  // the one used last: most likely still in a cache
      free_.pop_back();
    }
  }
  if (data == nullptr) {
    data = static_cast<char*>(std::aligned_alloc(kPageBytes, buffer_bytes_));
    CHECK(data != nullptr) << "out of memory";
  }
  return std::unique_ptr<Buffer>(new Buffer(shared_from_this(), data));
}

void BufferPool::Return(char* data) {
  {
    absl::MutexLock lock(&mu_);
    if (free_.size() < kept_max_) {
      free_.push_back(data);
      return;
    }
  }
  std::free(data);
}

}  // namespace ballast
