#include "kit/number_format.h"

#include <array>

#include "kit/check.h"

namespace kit {

namespace {

struct Row {
  NumberFormat format;
  std::string_view name;
  int bits;
};
constexpr std::array<Row, 6> kRows = {{{NumberFormat::kFp32, "fp32", 32},
                                       {NumberFormat::kFp16, "fp16", 16},
                                       {NumberFormat::kBf16, "bf16", 16},
                                       {NumberFormat::kFp8, "fp8", 8},
                                       {NumberFormat::kInt8, "int8", 8},
                                       {NumberFormat::kInt4, "int4", 4}}};

const Row& row(NumberFormat format) {
  for (const Row& row : kRows) {
    if (row.format == format) return row;
  }
  throw Error(fmt::format("unknown number format {}", static_cast<int>(format)));
}

}  // namespace

int bits(NumberFormat format) {
  return row(format).bits;
}

std::string_view name(NumberFormat format) {
  return row(format).name;
}

NumberFormat parse_number_format(std::string_view text) {
  std::string names;
  for (const Row& row : kRows) {
    if (row.name == text) return row.format;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  }
  throw Error(fmt::format("there is no number format '{}'; there are {}", text, names));
}

}  // namespace kit
