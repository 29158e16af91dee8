#include "kit/checked.h"

#include <fmt/ranges.h>

#include "kit/check.h"

namespace kit {

std::int64_t checked_product(std::string_view what, std::initializer_list<std::int64_t> factors) {
  std::int64_t product = 1;
  bool fits = true;
  for (const std::int64_t factor : factors) {
    KIT_CHECK(factor >= 0, "{} of {}: {} is negative", what, fmt::join(factors, " * "), factor);
    fits = fits && !__builtin_mul_overflow(product, factor, &product);
  }
  KIT_CHECK(fits, "{} of {} does not fit 64 bits", what, fmt::join(factors, " * "));
  return product;
}

std::int64_t checked_sum(std::string_view what, std::initializer_list<std::int64_t> terms) {
  std::int64_t sum = 0;
  for (const std::int64_t term : terms) {
    KIT_CHECK(term >= 0, "{} of {}: {} is negative", what, fmt::join(terms, " + "), term);
    KIT_CHECK(!__builtin_add_overflow(sum, term, &sum), "{} of {} does not fit 64 bits", what,
              fmt::join(terms, " + "));
  }
  return sum;
}

}  // namespace kit
