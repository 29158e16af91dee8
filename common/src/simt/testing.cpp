#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "kit/check.h"
#include "kit/cuda/testing.h"
#include "kit/simt/profile.h"

namespace kit::cuda {

Backend backend() {
  return Backend::kExecutor;
}

}  // namespace kit::cuda

namespace kit::testing {

namespace {

int n_seeded_orders() {
  const char* text = std::getenv("KIT_LANE_ORDERS");
  if (text == nullptr) return 1;
  int n = 0;
  const std::string_view number = text;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), n);
  KIT_CHECK(error == std::errc() && end == number.data() + number.size() && n >= 0,
            "KIT_LANE_ORDERS is '{}', must be a number", number);
  return n;
}

// One line of JSON for the running test, for `grader kernel`.
void write_report(const char* path, const std::vector<simt::LaunchReport>& launches) {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::ofstream file(path, std::ios::app);
  file << fmt::format(R"({{"test":"{}.{}","launches":[)", test->test_suite_name(), test->name());
  for (std::size_t i = 0; i < launches.size(); ++i) file << (i == 0 ? "" : ",") << to_json(launches[i]);
  file << "]}\n";
  KIT_CHECK(file.good(), "cannot write the kernel report '{}'", path);
}

}  // namespace

std::vector<simt::LaneOrder> lane_orders() {
  using Kind = simt::LaneOrder::Kind;
  std::vector<simt::LaneOrder> orders = {{.kind = Kind::kForward}, {.kind = Kind::kReverse}};
  for (int i = 0; i < n_seeded_orders(); ++i)
    orders.push_back({.kind = Kind::kSeeded, .seed = seed() + static_cast<std::uint64_t>(i)});
  return orders;
}

void run_in_lane_orders(const std::function<void()>& body) {
  const char* report = std::getenv("KIT_KERNEL_REPORT");
  for (const simt::LaneOrder& order : lane_orders()) {
    simt::Options options = simt::options();
    options.order = order;
    const simt::ScopedOptions scope(options);
    SCOPED_TRACE(fmt::format("lane order: {}", order.to_string()));
    if (report != nullptr) {
      write_report(report, simt::profile(body));
      return;
    }
    body();
    if (::testing::Test::HasFailure() || ::testing::Test::IsSkipped()) return;
  }
}

}  // namespace kit::testing
