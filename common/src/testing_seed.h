#pragma once

#include <string_view>

namespace kit::testing {

/// Sets what seed() returns. Throws kit::Error when `text` is not a decimal number.
void set_seed(std::string_view text);

}  // namespace kit::testing
