#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

/// Integer arithmetic that refuses to overflow: 70e9 parameters times anything does not fit 32 bits, and a
/// product of six such factors may not fit 64 either.
namespace kit {

/// The product of all factors. Throws kit::Error that names `what` and the factors when a factor is negative
/// or the product exceeds 2^63 - 1.
std::int64_t checked_product(std::string_view what, std::initializer_list<std::int64_t> factors);

/// The sum of all terms. Throws in the same way.
std::int64_t checked_sum(std::string_view what, std::initializer_list<std::int64_t> terms);

/// ceil(a / b) for a >= 0, b > 0, without an overflow on the way.
constexpr std::int64_t divide_round_up(std::int64_t a, std::int64_t b) {
  return a / b + (a % b == 0 ? 0 : 1);
}

}  // namespace kit
