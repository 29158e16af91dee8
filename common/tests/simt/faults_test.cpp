#include "faults.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <string>

#include "kit/cuda/testing.h"

namespace {

// Lines of faults.cu that end in "// FAULT name".
std::set<int> marked_lines(const std::string& name) {
  std::ifstream file(KIT_FAULTS_SOURCE);
  std::set<int> lines;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.ends_with("// FAULT " + name)) lines.insert(number);
  }
  return lines;
}

// "faults.cu:23:7" in the message's line "at".
int line_of(const std::string& message) {
  std::smatch match;
  return std::regex_search(message, match, std::regex(R"(\n  at +faults\.cu:(\d+):)")) ? std::stoi(match[1])
                                                                                       : 0;
}

class Faults : public ::testing::TestWithParam<std::size_t> {
 protected:
  static faults::Case test_case() { return faults::cases()[GetParam()]; }

  static kit::simt::Options options_in(const kit::simt::LaneOrder& order) {
    kit::simt::Options options;
    options.order = order;
    options.max_cpu_seconds = 0.3;
    return options;
  }
};

TEST_P(Faults, IsCaughtAtItsLine) {
  const faults::Case test = test_case();
  for (const auto& order : kit::testing::lane_orders()) {
    const kit::simt::ScopedOptions scope(options_in(order));
    try {
      test.fault();
      ADD_FAILURE() << "not caught, lane order " << order.to_string();
    } catch (const kit::Error& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(test.says), std::string::npos) << "should say '" << test.says << "':\n"
                                                            << message;
      const std::set<int> lines = marked_lines(test.name);
      if (!lines.empty()) {
        EXPECT_TRUE(lines.contains(line_of(message))) << "should name line " << *lines.begin() << ":\n"
                                                      << message;
        EXPECT_NE(message.find("_kernel"), std::string::npos) << message;
        EXPECT_NE(message.find("of thread block ("), std::string::npos) << message;
      }
    }
  }
}

TEST_P(Faults, NearMissPasses) {
  const faults::Case test = test_case();
  std::vector<kit::simt::LaneOrder> orders = {{.kind = kit::simt::LaneOrder::Kind::kForward},
                                              {.kind = kit::simt::LaneOrder::Kind::kReverse}};
  for (std::uint64_t seed = 0; seed < 10; ++seed)
    orders.push_back({.kind = kit::simt::LaneOrder::Kind::kSeeded, .seed = seed});
  for (const auto& order : orders) {
    const kit::simt::ScopedOptions scope(options_in(order));
    EXPECT_NO_THROW(test.near_miss()) << "lane order " << order.to_string();
  }
}

INSTANTIATE_TEST_SUITE_P(, Faults, ::testing::Range<std::size_t>(0, faults::cases().size()),
                         [](const auto& info) {
                           const faults::Case test = faults::cases()[info.param];
                           return fmt::format("{:02}_{}", info.param, test.name);
                         });

// After a fault the executor is as good as new.
TEST(FaultRecovery, LaunchesGoOnAfterEveryFault) {
  kit::simt::Options options;
  options.max_cpu_seconds = 0.3;
  const kit::simt::ScopedOptions scope(options);
  for (const faults::Case& test : faults::cases()) {
    EXPECT_THROW(test.fault(), kit::Error) << test.name;
    EXPECT_NO_THROW(test.near_miss()) << test.name;
  }
}

}  // namespace
