#include "fake_tree.h"

#include <fmt/format.h>

namespace grader_tests {

namespace {

// What GoogleTest would do, in the shell.
constexpr const char* kTestBinary = R"sh(#!/bin/sh
for argument; do
  case $argument in
    --gtest_filter=*) name=${argument#*=} ;;
    --gtest_output=json:*) report=${argument#*:} ;;
    --kit_seed=*) seed=${argument#*=} ;;
  esac
done
write() {
  printf '{"testsuites":[{"name":"%s","testsuite":[{"name":"%s","result":"%s"%s}]}]}' \
    "${name%%.*}" "${name#*.}" "$1" "$2" > "$report"
}
case $name in
  Good.*) write COMPLETED ;;
  Fast.Enough)
    write COMPLETED ',"value":"31","bar":"31","seed":"'$seed'","series.step":"1,2,3","series.with_cache":"4,5,6"' ;;
  Bad.Fails) write COMPLETED ',"failures":[{"failure":"file.cpp:1\nexpected 1, got 2"}]'; exit 1 ;;
  Bad.Stub) write COMPLETED ',"failures":[{"failure":"NotImplemented: lab01 task 1: f"}]'; exit 1 ;;
  Bad.Exits) exit 0 ;;
  Bad.Crashes) kill -SEGV $$ ;;
  Bad.Sleeps*) sleep 1000 ;;
  Bad.Skips) echo "too noisy"; write SKIPPED ;;
  Bad.HalfReport) printf '{"testsu' > "$report" ;;
  *) printf '{"testsuites":[]}' > "$report" ;;
esac
)sh";

}  // namespace

void write_script(const std::filesystem::path& file, const std::string& text) {
  grader::write_file(file, text);
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);
}

FakeTree::FakeTree() {
  rubric_ = R"([lab]
id = "lab01"
title = "Fake"
chapter = "docs/01.md"
folder = "lab01_fake"
)";
  grader::write_file(build_dir() / "CMakeCache.txt",
                     "CMAKE_GENERATOR:INTERNAL=Ninja\nCMAKE_PROJECT_NAME:STATIC=fake\nCMAKE_MAKE_PROGRAM:"
                     "FILEPATH=ninja\nCMAKE_BUILD_TYPE:STRING=Fast\n");
  write_script(build_dir() / "lab01_fake" / "lab01_tests_student", kTestBinary);
  ninja_ = "rule run\n  command = $what\n";
  set_build_command("kit_testing", "true");
  set_build_command("lab01_test_objects", "true");
}

void FakeTree::set_build_command(const std::string& target, const std::string& command) {
  ninja_ += fmt::format("build {}: run\n  what = {}\n", target, command);
  grader::write_file(build_dir() / "build.ninja", ninja_);
}

void FakeTree::add_task(const std::string& id, const std::string& tests) {
  ++n_tasks_;
  rubric_ += fmt::format(
      "[[task]]\nid = \"{0}\"\nnumber = {1}\ntitle = \"Task {0}\"\npoints = 10\nopen = "
      "\"lab01_fake/src/{0}.cpp\"\n"
      "tests = {2}\n",
      id, n_tasks_, tests);
  write_rubric();
}

void FakeTree::add_milestone() {
  rubric_ +=
      "[[milestone]]\nid = \"fast\"\ntitle = \"Fast\"\npoints = 5\nopen = \"lab01_fake/src/a.cpp\"\n"
      "test = \"Fast.Enough\"\nunit = \"tokens\"\nvalue_key = \"value\"\nthreshold_key = \"bar\"\n";
  write_rubric();
}

void FakeTree::write_rubric() const {
  grader::write_file(root() / "lab01_fake" / "rubric.toml", rubric_);
}

}  // namespace grader_tests
