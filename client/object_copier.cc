// SPDX-License-Identifier: Apache-2.0
#include "client/object_copier.h"

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/byte_pipe.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast::client {
namespace {

constexpr int kTriesMax = 3;

// The Get's side of the copy, on a thread of its own.
class ReadingThread {
 public:
  ReadingThread(ObjectReader& reader, const v1::ObjectInfo& object, Cancellation* cancel)
      : reader_(reader),
        object_(object),
        hook_(cancel, [this] { stop_.Cancel(); }),
        pipe_(object.size_bytes(), [this] { return CheckSameGeneration(); }),
        thread_([this] { Run(); }) {}
  ~ReadingThread() {
    pipe_.CloseSource();
    stop_.Cancel();
    thread_.join();
  }

  Source& source() { return pipe_.source(); }

 private:
  void Run() {
    GetOptions get;
    get.cancel = &stop_;
    const absl::StatusOr<GetResult> result = reader_.Get(object_.key(), pipe_.sink(), get);
    {
      absl::MutexLock lock(&mu_);
      result_ = result;
    }
    if (!result.ok()) {
      pipe_.Fail(result.status());
    }
  }

  // Called when all has been read, so the Get is about to end or has ended.
  absl::Status CheckSameGeneration() {
    absl::MutexLock lock(&mu_);
    const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return result_.has_value(); };
    mu_.Await(absl::Condition(&ended));
    RETURN_IF_ERROR(result_->status());
    if ((*result_)->object.generation() == object_.generation()) {
      return absl::OkStatus();
    }
    return MakeError(v1::REASON_GENERATION_GONE,
                     absl::StrCat("'", object_.key(), "' was replaced while it was being copied"));
  }

  ObjectReader& reader_;
  const v1::ObjectInfo& object_;
  Cancellation stop_;  // the caller's cancellation, or the end of the Put
  const Cancellation::Hook hook_;
  absl::Mutex mu_;
  std::optional<absl::StatusOr<GetResult>> result_ ABSL_GUARDED_BY(mu_);
  BytePipe pipe_;
  std::thread thread_;  // last: it uses all of the others
};

}  // namespace

absl::StatusOr<CopyResult> ObjectCopier::Copy(const std::string& source, const std::string& target,
                                              const CopyOptions& copy, uint64_t inline_bytes) {
  if (source == target) {
    return InvalidArgument(absl::StrCat("'", source, "' cannot be copied onto itself"));
  }
  for (int tries = 1;; ++tries) {
    ASSIGN_OR_RETURN(const auto stat, metadata_.Stat(source, CallControl{copy.cancel, {}}));
    auto result = TryCopy(stat.object(), target, copy, inline_bytes);
    if (ReasonOf(result.status()) != v1::REASON_GENERATION_GONE || tries == kTriesMax) {
      return result;
    }
    if (copy.progress != nullptr) {
      copy.progress->bytes_done = 0;
    }
  }
}

absl::StatusOr<CopyResult> ObjectCopier::TryCopy(const v1::ObjectInfo& object,
                                                 const std::string& target, const CopyOptions& copy,
                                                 uint64_t inline_bytes) {
  PutOptions put;
  put.replicas = copy.replicas;
  put.if_generation_match = copy.if_generation_match;
  for (const v1::UserMetadata& entry : object.metadata()) {
    put.metadata.emplace_back(entry.name(), entry.value());
  }
  put.cancel = copy.cancel;
  put.progress = copy.progress;
  CopyResult result;
  result.source_generation = object.generation();
  ReadingThread reading(reader_, object, copy.cancel);
  ASSIGN_OR_RETURN(result.put, writer_.Put(target, reading.source(), put, inline_bytes));
  return result;
}

}  // namespace ballast::client
