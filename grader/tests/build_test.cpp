#include "grader/build.h"

#include <gtest/gtest.h>

#include "fake_tree.h"
#include "grader/error.h"
#include "grader/machine.h"

namespace {

TEST(Build, ReadsNinjasStatus) {
  int done = 0;
  int total = 0;
  EXPECT_TRUE(grader::parse_ninja_status("[12/40] Building CXX object x.o", done, total));
  EXPECT_EQ(done, 12);
  EXPECT_EQ(total, 40);
  for (const char* line : {"", "[", "[1", "[1/", "[1/2", "12/40]", "[x/2] y", "[ 50%] Building"}) {
    EXPECT_FALSE(grader::parse_ninja_status(line, done, total)) << line;
  }
}

TEST(Build, FirstErrorsComeWithoutTheRoot) {
  const std::string output =
      "[1/2] Building\n"
      "/root/lab02/src/a.cpp: In function 'f':\n"
      "/root/lab02/src/a.cpp:3:5: error: 'x' was not declared\n"
      "    3 |   x;\n"
      "/root/lab02/src/a.cpp:4:5: error: two\n"
      "/root/lab02/src/a.cpp:5:5: fatal error: three\n"
      "/root/lab02/src/a.cpp:6:5: error: four\n"
      "collect2: error: ld returned 1 exit status\n";
  EXPECT_EQ(grader::first_errors(output, "/root"),
            "lab02/src/a.cpp:3:5: error: 'x' was not declared\nlab02/src/a.cpp:4:5: error: two\n"
            "lab02/src/a.cpp:5:5: fatal error: three");
  EXPECT_EQ(grader::first_errors("a.cpp:9: undefined reference to `lab02::softmax()'\n", "/root"),
            "a.cpp:9: undefined reference to `lab02::softmax()'");
  EXPECT_EQ(grader::first_errors(
                "a.cpp:9: undefined reference to `f()'\nb.cpp:3: undefined reference to `f()'\n", "/root"),
            "a.cpp:9: undefined reference to `f()'");
  EXPECT_EQ(grader::first_errors("something\nelse\n", "/root"), "something\nelse");
  const std::string cuda = grader::first_errors(
      "/root/src/copy.cu:9:14: error: expected primary-expression before '<' token\n"
      "    9 |   copy_kernel<<<grid, block>>>(in, out);\n",
      "/root");
  EXPECT_NE(cuda.find("Write kit::launch(kernel, {grid, block}, ...)"), std::string::npos) << cuda;
}

TEST(Build, FolderThatIsNotConfiguredSaysWhatToRun) {
  const grader_tests::FakeTree tree;
  try {
    const grader::BuildTree build(tree.root(), tree.root() / "nowhere");
    FAIL();
  } catch (const grader::InfrastructureError& error) {
    EXPECT_NE(std::string(error.what()).find("./kit grade"), std::string::npos);
  }
}

TEST(Build, ReadsTheCache) {
  const grader_tests::FakeTree tree;
  const grader::BuildTree build(tree.root(), tree.build_dir());
  EXPECT_EQ(build.cache_value("CMAKE_GENERATOR"), "Ninja");
  EXPECT_EQ(build.cache_value("NO_SUCH"), "");
  EXPECT_FALSE(build.has_sanitizers());
}

TEST(Machine, SaysSomethingAboutItself) {
  const grader::Machine machine = grader::describe_machine("/nowhere");
  EXPECT_FALSE(machine.cpu.empty());
  EXPECT_GE(machine.n_cores, 1);
  EXPECT_GT(machine.memory_bytes, 0);
  EXPECT_EQ(machine.compiler, "unknown");
  EXPECT_EQ(grader::utc_now().size(), std::string("2025-01-31T12:34:56Z").size());
}

}  // namespace
