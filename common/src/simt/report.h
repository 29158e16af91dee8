#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "kit/simt/profile.h"

namespace kit::simt::detail {

class Worker;

/// Puts the counts of a launch's workers together.
class ReportBuilder {
 public:
  ReportBuilder(std::string kernel, std::array<unsigned, 3> grid, std::array<unsigned, 3> thread_block,
                std::int64_t static_shared_bytes, std::int64_t dynamic_shared_bytes);
  void add(const Worker& worker);
  /// Hands the report to profile(), if somebody listens.
  void publish();

 private:
  LaunchReport report_;
};

}  // namespace kit::simt::detail
