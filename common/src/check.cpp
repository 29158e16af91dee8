#include "kit/check.h"

namespace kit::detail {

void throw_check_failure(std::string_view condition, std::string_view file, int line,
                         const std::string& message) {
  // The file's name without its folders: enough to find it, the same on every machine.
  const std::string_view base = file.substr(file.find_last_of('/') + 1);
  throw Error(fmt::format("{} [{}:{}: {}]", message, base, line, condition));
}

}  // namespace kit::detail
