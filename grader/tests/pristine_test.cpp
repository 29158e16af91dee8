#include "../src/pristine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "grader/error.h"
#include "grader/files.h"
#include "grader/process.h"

namespace {

namespace fs = std::filesystem;

constexpr const char* kStub = "void f() { throw kit::NotImplemented(\"lab09 task 1: f\"); }\n";

class Pristine : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    grader::write_file(root() / "lab09_things/src" / name, text);
  }
  fs::path root() const { return folder_.path(); }

  void git(const std::vector<std::string>& arguments) {
    grader::Command command;
    command.argv = {"git", "-C", root().string(), "-c", "user.name=a", "-c", "user.email=a@b"};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    const grader::ProcessResult result = grader::run_process(command);
    ASSERT_TRUE(result.succeeded()) << result.output;
  }

  /// What is said about a submission that lacks `missing`; empty when nothing is wrong.
  std::string complaint(const std::vector<std::string>& missing) {
    grader::Rubric rubric;
    rubric.id = "lab09";
    rubric.folder = "lab09_things";
    try {
      grader::require_stubs(root(), {rubric}, {{"lab09", {}, missing}});
      return "";
    } catch (const grader::InfrastructureError& error) {
      return error.what();
    }
  }

 private:
  grader::ScratchFolder folder_{fs::temp_directory_path() / "kit-pristine"};
};

TEST_F(Pristine, AStubMayStandIn) {
  write("a.cpp", kStub);
  EXPECT_EQ(complaint({"a.cpp"}), "");
}

TEST_F(Pristine, SomebodysWorkMayNot) {
  write("a.cpp", kStub);
  write("b.cpp", "void f() {}\n");
  EXPECT_EQ(complaint({"a.cpp"}), "") << "b.cpp is not needed";
  const std::string said = complaint({"a.cpp", "b.cpp"});
  EXPECT_NE(said.find("lab09_things/src/b.cpp of this tree is no stub"), std::string::npos) << said;
}

TEST_F(Pristine, NorAStubOfWhichAPartIsDone) {
  write("a.cpp", kStub);
  git({"init", "-q"});
  git({"add", "."});
  git({"commit", "-q", "-m", "stubs"});
  EXPECT_EQ(complaint({"a.cpp"}), "");
  write("a.cpp", fmt::format("{}int g() {{ return 1; }}\n", kStub));
  const std::string said = complaint({"a.cpp"});
  EXPECT_NE(said.find("was changed"), std::string::npos) << said;
}

}  // namespace
