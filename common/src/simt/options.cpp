#include <mutex>

#include "kit/simt/profile.h"

namespace kit::simt {

namespace {

std::mutex options_mutex;
Options& current_options() {
  static Options value;
  return value;
}

}  // namespace

Options options() {
  const std::scoped_lock lock(options_mutex);
  return current_options();
}

void set_options(const Options& options) {
  const std::scoped_lock lock(options_mutex);
  current_options() = options;
}

}  // namespace kit::simt
