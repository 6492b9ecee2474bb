// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace ballast {

// Page-aligned buffers of one size for bulk data, kept for reuse: fresh memory costs page faults,
// on a virtual machine up to ten times the copy itself.
//
// Thread-safe. Buffers keep their pool alive.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  // At most `kept_max` unused buffers are kept.
  static std::shared_ptr<BufferPool> Make(size_t buffer_bytes, size_t kept_max);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // One buffer; returned to its pool when destroyed, by whatever thread.
  class Buffer {
   public:
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    char* data() { return data_; }
    size_t size() const { return pool_->buffer_bytes_; }

   private:
    friend class BufferPool;
    Buffer(std::shared_ptr<BufferPool> pool, char* data) : pool_(std::move(pool)), data_(data) {}
    const std::shared_ptr<BufferPool> pool_;
    char* const data_;
  };

  // Its content is arbitrary.
  std::unique_ptr<Buffer> Take();

  size_t buffer_bytes() const { return buffer_bytes_; }

 private:
  BufferPool(size_t buffer_bytes, size_t kept_max)
      : buffer_bytes_(buffer_bytes), kept_max_(kept_max) {}
  void Return(char* data);

  const size_t buffer_bytes_;
  const size_t kept_max_;
  absl::Mutex mu_;
  std::vector<char*> free_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast
