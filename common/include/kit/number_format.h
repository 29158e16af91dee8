#pragma once

#include <string_view>

/// How numbers are stored, for arithmetic about memory. (kit::DType is what tensors of this kit hold.)
namespace kit {

enum class NumberFormat { kFp32, kFp16, kBf16, kFp8, kInt8, kInt4 };

/// Bits (not bytes) of one number: 32, 16, 16, 8, 8, 4. Scales that come with groups are not in it.
int bits(NumberFormat format);
/// "fp32", "fp16", "bf16", "fp8", "int8", "int4".
std::string_view name(NumberFormat format);
/// The inverse of name(). Throws kit::Error that lists the names.
NumberFormat parse_number_format(std::string_view text);

}  // namespace kit
