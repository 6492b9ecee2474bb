// SPDX-License-Identifier: Apache-2.0
#include "common/raft/wal_replay.h"

#include <variant>

#include "absl/strings/str_cat.h"

namespace ballast {

absl::Status WalReplay::Apply(const WalRecord& record) {
  if (!begun_ && !std::holds_alternative<WalBase>(record)) {
    return absl::DataLossError("a segment does not begin with its base record");
  }
  begun_ = true;
  return std::visit([this](const auto& r) { return Add(r); }, record);
}

absl::Status WalReplay::Add(const WalHard& record) {
  if (record.term < term_) {
    return absl::DataLossError(absl::StrCat("term falls from ", term_, " to ", record.term));
  }
  term_ = record.term;
  vote_ = record.vote;
  return absl::OkStatus();
}

absl::Status WalReplay::Add(const WalEntries& record) {
  const uint64_t last = log_.last_index();
  if (record.first <= trim_index_ || record.first > last + 1) {
    return absl::DataLossError(absl::StrCat("entries from ", record.first, " do not join a log of ",
                                            trim_index_ + 1, "..", last));
  }
  if (record.first <= missing_last_) {  // overwrites what is gone anyway
    missing_last_ = record.first - 1;
    log_.Reset(missing_last_, missing_last_ == trim_index_ ? trim_term_ : 0);
  } else if (record.first <= last) {
    log_.TruncateFrom(record.first);
  }
  uint64_t term = log_.TermAt(log_.last_index());
  for (const LogEntry& entry : record.entries) {
    if (entry.term < term) {
      return absl::DataLossError(absl::StrCat("terms of entries fall at ", log_.last_index() + 1));
    }
    term = entry.term;
    log_.Append(entry);
  }
  return absl::OkStatus();
}

absl::Status WalReplay::Add(const WalReset& record) {
  if (record.index == 0 || record.term == 0 || record.index < trim_index_) {
    return absl::DataLossError(absl::StrCat("reset to ", record.index, " behind ", trim_index_));
  }
  trim_index_ = missing_last_ = record.index;
  trim_term_ = record.term;
  log_.Reset(record.index, record.term);
  return absl::OkStatus();
}

absl::Status WalReplay::Add(const WalTrim& record) {
  if (record.index <= trim_index_) {
    return absl::OkStatus();
  }
  if (record.term == 0 || record.index > log_.last_index() ||
      (log_.Has(record.index) && log_.TermAt(record.index) != record.term)) {
    return absl::DataLossError(absl::StrCat(
        "trim to ", record.index, " does not fit the log, which ends at ", log_.last_index()));
  }
  trim_index_ = record.index;
  trim_term_ = record.term;
  if (record.index >= missing_last_) {
    if (record.index == log_.base_index()) {
      log_.SetBaseTerm(record.term);
    } else {
      log_.TrimTo(record.index);
    }
    missing_last_ = record.index;
  }
  return absl::OkStatus();
}

absl::Status WalReplay::Add(const WalBase& record) {
  if (record.last < record.trim_index || (record.trim_index > 0) != (record.trim_term > 0)) {
    return absl::DataLossError("base record of an impossible log");
  }
  if (term_ == 0) {  // the first one read
    term_ = record.term;
    vote_ = record.vote;
    trim_index_ = record.trim_index;
    trim_term_ = record.trim_term;
    missing_last_ = record.last;
    log_.Reset(record.last, record.last == record.trim_index ? record.trim_term : 0);
    return absl::OkStatus();
  }
  if (record.term != term_ || record.vote != vote_ || record.trim_index != trim_index_ ||
      record.trim_term != trim_term_ || record.last != log_.last_index()) {
    return absl::DataLossError("a base record contradicts the segments before it");
  }
  return absl::OkStatus();
}

absl::Status WalReplay::Finish() const {
  if (term_ == 0) {
    return absl::DataLossError("the log names no term");
  }
  if (missing_last_ > trim_index_) {
    return absl::DataLossError(absl::StrCat("entries ", trim_index_ + 1, "..", missing_last_,
                                            " are in no segment: segments are missing"));
  }
  if (log_.TermAt(log_.last_index()) > term_) {
    return absl::DataLossError(absl::StrCat("the last entry is of term ",
                                            log_.TermAt(log_.last_index()),
                                            ", the log itself of term ", term_));
  }
  return absl::OkStatus();
}

}  // namespace ballast
