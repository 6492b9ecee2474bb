// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sstream>
#include <string>

// CHECK family: states what must be true of our own code. It stays on in release: a process that
// is wrong about itself stops before it can write. Failures of the world (disk, network, input)
// are absl::Status, never a CHECK.
//
//   CHECK(a.empty());
//   CHECK_LE(applied, committed);          // prints both values
//   CHECK(ok) << "more context";

namespace ballast::internal {

// Prints "file:line: CHECK failed: ..." with the streamed context to stderr and aborts.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* what);
  CheckFailure(const char* file, int line, const std::string& what);
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

struct CheckVoidify {
  void operator&(std::ostream&) const {}
};

template <typename T>
concept Streamable = requires(std::ostream& out, const T& v) {
  out << v;
};

template <typename T>
void PrintOperand(std::ostream& out, const T& v) {
  if constexpr (Streamable<T>) {
    out << v;
  } else {
    out << "(value without a printed form)";
  }
}

template <typename A, typename B>
std::string CheckText(const char* expr, const A& a, const B& b) {
  std::ostringstream out;
  out << expr << " (";
  PrintOperand(out, a);
  out << " vs. ";
  PrintOperand(out, b);
  out << ")";
  return out.str();
}

}  // namespace ballast::internal

#define CHECK(cond)                              \
  (__builtin_expect(static_cast<bool>(cond), 1)) \
      ? (void)0                                  \
      : ::ballast::internal::CheckVoidify() &    \
            ::ballast::internal::CheckFailure(__FILE__, __LINE__, #cond).stream()

#define BALLAST_CHECK_OP(op, a, b)                                                           \
  while (const auto* ballast_check_text = [](const auto& x, const auto& y) -> std::string* { \
    if (__builtin_expect(static_cast<bool>(x op y), 1)) return nullptr;                      \
    return new std::string(::ballast::internal::CheckText(#a " " #op " " #b, x, y));         \
  }((a), (b)))                                                                               \
  ::ballast::internal::CheckFailure(__FILE__, __LINE__, *ballast_check_text).stream()

#define CHECK_EQ(a, b) BALLAST_CHECK_OP(==, a, b)
#define CHECK_NE(a, b) BALLAST_CHECK_OP(!=, a, b)
#define CHECK_LT(a, b) BALLAST_CHECK_OP(<, a, b)
#define CHECK_LE(a, b) BALLAST_CHECK_OP(<=, a, b)
#define CHECK_GT(a, b) BALLAST_CHECK_OP(>, a, b)
#define CHECK_GE(a, b) BALLAST_CHECK_OP(>=, a, b)
#define CHECK_OK(expr)                                               \
  do {                                                               \
    const auto& ballast_check_status = (expr);                       \
    CHECK(ballast_check_status.ok()) << " " << ballast_check_status; \
  } while (false)
