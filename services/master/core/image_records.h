// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "protos/master_log.pb.h"

namespace ballast::master {

// Builds an image: framed records and a footer (protos/master_log.proto has the format).
class ImageWriter {
 public:
  void Append(const v1::master_log::ImageRecord& record);
  // Adds the footer; the writer is empty afterwards.
  std::string Finish();

 private:
  void AppendFrame(const v1::master_log::ImageRecord& record);
  std::string bytes_;
  uint64_t record_count_ = 0;
};

// Reads an image record by record. Trusts nothing: lengths, checksums, the footer's count and that
// nothing follows it are checked; memory is bounded by the longest record.
class ImageReader {
 public:
  // `image` must outlive the reader.
  explicit ImageReader(absl::string_view image) : rest_(image) {}

  // True: `record` is the next one. False: the footer was reached, the image is complete.
  // DATA_LOSS on anything malformed or cut off.
  absl::StatusOr<bool> Next(v1::master_log::ImageRecord& record);

 private:
  absl::string_view rest_;
  uint64_t record_count_ = 0;
};

}  // namespace ballast::master
