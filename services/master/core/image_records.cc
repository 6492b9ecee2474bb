// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/image_records.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/types/limits.h"

namespace ballast::master {
namespace {

constexpr size_t kFrameBytes = 8;

void AppendU32(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

uint32_t ReadU32(absl::string_view bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = (value << 8) | static_cast<uint8_t>(bytes[i]);
  return value;
}

}  // namespace

void ImageWriter::AppendFrame(const v1::master_log::ImageRecord& record) {
  const std::string body = record.SerializeAsString();
  CHECK_LE(body.size(), kImageRecordBytesMax);
  AppendU32(bytes_, static_cast<uint32_t>(body.size()));
  AppendU32(bytes_, ComputeCrc32c(body).value);
  bytes_ += body;
}

void ImageWriter::Append(const v1::master_log::ImageRecord& record) {
  AppendFrame(record);
  ++record_count_;
}

std::string ImageWriter::Finish() {
  v1::master_log::ImageRecord record;
  record.mutable_footer()->set_record_count(record_count_);
  AppendFrame(record);
  record_count_ = 0;
  return std::exchange(bytes_, {});
}

absl::StatusOr<bool> ImageReader::Next(v1::master_log::ImageRecord& record) {
  const auto damaged = [this](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("image record ", record_count_, ": ", what));
  };
  if (rest_.size() < kFrameBytes) return damaged("cut off");
  const uint32_t length = ReadU32(rest_);
  const Crc32c crc{ReadU32(rest_.substr(4))};
  if (length > kImageRecordBytesMax) return damaged("too long");
  if (rest_.size() - kFrameBytes < length) return damaged("cut off");
  const absl::string_view body = rest_.substr(kFrameBytes, length);
  if (ComputeCrc32c(body) != crc) return damaged("checksum does not fit");
  if (!record.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return damaged("not an ImageRecord");
  }
  rest_.remove_prefix(kFrameBytes + length);
  if (record.record_case() == v1::master_log::ImageRecord::RECORD_NOT_SET) {
    return damaged("of an unknown kind");
  }
  if (!record.has_footer()) {
    ++record_count_;
    return true;
  }
  if (record.footer().record_count() != record_count_) return damaged("footer counts otherwise");
  if (!rest_.empty()) return damaged("bytes after the footer");
  return false;
}

}  // namespace ballast::master
