#include "kit/check.h"

#include <gtest/gtest.h>

#include <string>
#include <type_traits>

namespace {

TEST(Check, PassesSilently) {
  EXPECT_NO_THROW(KIT_CHECK(1 + 1 == 2, "never formatted"));
}

TEST(Check, NamesValuesFileAndCondition) {
  const int n = -3;
  try {
    KIT_CHECK(n > 0, "n is {}, must be positive", n);
    FAIL() << "nothing was thrown";
  } catch (const kit::Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("n is -3, must be positive"), std::string::npos) << message;
    EXPECT_NE(message.find("check_test.cpp:"), std::string::npos) << message;
    EXPECT_NE(message.find("n > 0"), std::string::npos) << message;
    EXPECT_EQ(message.find('/'), std::string::npos) << "no path of this machine: " << message;
  }
}

TEST(Check, NotImplementedIsNoError) {
  // A test that expects a kit::Error must not be satisfied by a stub.
  EXPECT_FALSE((std::is_base_of_v<kit::Error, kit::NotImplemented>));
  EXPECT_STREQ(kit::NotImplemented("lab02 task 3: f").what(), "NotImplemented: lab02 task 3: f");
}

}  // namespace
