#include <gtest/gtest.h>

#include <cstdio>
#include <string_view>

#include "kit/check.h"
#include "testing_seed.h"

/// Test main: GoogleTest's options and --kit_seed=N.
int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  constexpr std::string_view kSeedOption = "--kit_seed=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!argument.starts_with(kSeedOption)) {
      std::fprintf(stderr, "unknown argument '%s'; --kit_seed=N is the kit's own, see also --help\n",
                   argv[i]);
      return 2;
    }
    try {
      kit::testing::set_seed(argument.substr(kSeedOption.size()));
    } catch (const kit::Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
