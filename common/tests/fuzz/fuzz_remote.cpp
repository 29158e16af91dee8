#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string_view>

#include "../remote/hostile_worker.h"
#include "../remote/questions.h"
#include "kit/remote/errors.h"

/// A worker that sends any bytes: the checker throws and keeps no object and no shared memory. The first byte
/// chooses what it asked.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto questions = kit::remote::all_questions();  // NOLINT(bugprone-throw-keyword-missing)
  // More would not fit into the socket, and nobody reads yet.
  constexpr std::size_t kMost = 64 * 1024;
  if (size < 1 || size > kMost) return 0;
  kit::remote::HostileWorker worker;
  worker.say(std::string_view(reinterpret_cast<const char*>(data + 1), size - 1)).hang_up();
  try {
    questions[data[0] % questions.size()](worker.checker());
  } catch (const std::exception&) {
    // A worker may throw what it likes.
  }
  if (worker.checker().n_objects() != 0 || worker.checker().own_arena().top() != 0) std::terminate();
  return 0;
}
