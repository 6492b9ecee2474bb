// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>
#include <utility>

namespace ballast {

// A distinct integer type: two ids with different tags do not convert into each other, so that
// swapping two arguments is a compile error. Ordered, hashable (std and absl) and printable.
//
//   struct ShardTag {};
//   using ShardId = StrongId<ShardTag, uint32_t>;
template <typename Tag, typename Rep>
class StrongId {
 public:
  using rep_type = Rep;

  constexpr StrongId() = default;
  explicit constexpr StrongId(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }

  friend constexpr auto operator<=>(const StrongId&, const StrongId&) = default;

  // The id after this one.
  constexpr StrongId Next() const { return StrongId(static_cast<Rep>(value_ + 1)); }

  template <typename H>
  friend H AbslHashValue(H h, const StrongId& id) {
    return H::combine(std::move(h), id.value_);
  }

  friend std::ostream& operator<<(std::ostream& out, const StrongId& id) {
    return out << +id.value_;
  }

 private:
  Rep value_ = 0;
};

}  // namespace ballast

template <typename Tag, typename Rep>
struct std::hash<ballast::StrongId<Tag, Rep>> {
  size_t operator()(const ballast::StrongId<Tag, Rep>& id) const {
    return std::hash<Rep>()(id.value());
  }
};
