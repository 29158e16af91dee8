#include "kit/tensor.h"

#include <fmt/ranges.h>

namespace kit {

namespace {
constexpr std::int64_t kMaxElements = std::int64_t{1} << 62;
}  // namespace

Shape::Shape(std::span<const std::int64_t> dims) {
  KIT_CHECK(dims.size() <= kMaxRank, "shape [{}] has {} dimensions, at most {} are supported",
            fmt::join(dims, ", "), dims.size(), kMaxRank);
  for (const std::int64_t dim : dims) {
    KIT_CHECK(dim >= 0, "shape [{}] has the negative dimension {}", fmt::join(dims, ", "), dim);
    KIT_CHECK(dim == 0 || size_ <= kMaxElements / dim, "shape [{}] has too many elements",
              fmt::join(dims, ", "));
    size_ *= dim;
    dims_[static_cast<std::size_t>(rank_++)] = dim;
  }
}

std::string Shape::to_string() const {
  return fmt::format("[{}]", fmt::join(dims_.begin(), dims_.begin() + rank_, ", "));
}

}  // namespace kit
