#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fake_tree.h"
#include "grader/files.h"
#include "grader/process.h"

// The program as the user meets it: arguments in, exit status and text out.

namespace {

class CliTest : public ::testing::Test {
 protected:
  CliTest() {
    tree_.add_task("one", R"(["Good.A"])");
    tree_.add_milestone();
    tree_.set_build_command("lab01_tests_student", "true");
  }

  grader::ProcessResult run(std::vector<std::string> arguments) const {
    grader::Command command;
    command.argv = std::move(arguments);
    command.argv.insert(command.argv.begin(), GRADER_BINARY);
    command.environment = {{"KIT_ROOT", tree_.root().string()},
                           {"KIT_BUILD_DIR", tree_.build_dir().string()}};
    command.limits.wall_seconds = 60;
    return grader::run_process(command);
  }

  /// Runs and expects `status`; returns what was printed.
  std::string expect(int status, std::vector<std::string> arguments) const {
    const grader::ProcessResult result = run(std::move(arguments));
    EXPECT_EQ(result.exit_code, status) << result.output;
    EXPECT_EQ(result.output.find('\x1b'), std::string::npos)
        << "colours without a terminal: " << result.output;
    return result.output;
  }

  std::filesystem::path report(const char* name) const { return tree_.build_dir() / "reports" / name; }

  grader_tests::FakeTree tree_;
};

TEST_F(CliTest, GradesAndWritesReports) {
  const std::string output = expect(0, {"grade"});
  EXPECT_NE(output.find("15 / 15"), std::string::npos) << output;
  EXPECT_NE(output.find("./kit generate --prompt"), std::string::npos) << output;
  EXPECT_NE(output.find("report: build/reports/grade.html"), std::string::npos) << output;
  EXPECT_TRUE(std::filesystem::exists(report("grade.html")));
  EXPECT_TRUE(std::filesystem::exists(report("fast.svg")));
  const auto json = nlohmann::json::parse(grader::read_file(report("results.json")));
  EXPECT_EQ(json["schema"], "memory-wall-labs/results/1");
  EXPECT_EQ(json["score"], 15);
  EXPECT_EQ(json["impl"], "student");
}

TEST_F(CliTest, ReportsGoWhereAsked) {
  const std::filesystem::path folder = tree_.root() / "out";
  expect(0, {"grade", "lab01", "--html", (folder / "r.html").string(), "--json", (folder / "r.json").string(),
             "--junit", (folder / "r.xml").string(), "--seed", "5"});
  EXPECT_EQ(nlohmann::json::parse(grader::read_file(folder / "r.json"))["seed"], 5);
  EXPECT_TRUE(std::filesystem::exists(folder / "r.html"));
  EXPECT_TRUE(std::filesystem::exists(folder / "r.xml"));
  EXPECT_FALSE(std::filesystem::exists(report("grade.html")));
}

TEST_F(CliTest, LowScoreIsStillGraded) {
  tree_.add_task("two", R"(["Bad.Fails"])");
  const std::string output = expect(0, {"grade"});
  EXPECT_NE(output.find("expected 1, got 2"), std::string::npos) << output;
  EXPECT_NE(output.find("open first: lab01_fake/src/two.cpp"), std::string::npos) << output;
}

TEST_F(CliTest, FailUnderComparesWithTheScore) {
  expect(0, {"grade", "--fail-under", "15"});
  expect(1, {"grade", "--fail-under", "15.5"});
  tree_.add_task("noisy", R"(["Bad.Skips"])");  // 15 of 25 points, 10 undecided
  expect(3, {"grade", "--fail-under", "20"});
  expect(1, {"grade", "--fail-under", "26"});
}

TEST_F(CliTest, BadUsageIsTwo) {
  expect(2, {});
  expect(2, {"no_such_command"});
  expect(2, {"grade", "--no-such-option"});
  expect(2, {"grade", "--impl", "nobody"});
  expect(2, {"grade", "--seed", "many"});
  const std::string output = expect(2, {"grade", "lab99"});
  EXPECT_NE(output.find("there is no lab 'lab99'; the labs are: lab01 (Fake)"), std::string::npos) << output;
}

TEST_F(CliTest, SolutionsThatAreNotHereAreBadUsage) {
  const std::string output = expect(2, {"grade", "--impl", "solutions"});
  EXPECT_NE(output.find("there is no solutions/lab01_fake here"), std::string::npos) << output;
}

TEST_F(CliTest, InfrastructureIsThree) {
  const std::string output = expect(3, {"grade", "--html", "/proc/no_such_folder/r.html"});
  EXPECT_NE(output.find("/proc/no_such_folder"), std::string::npos) << output;
  tree_.add_task("two", R"(["Bad.HalfReport"])");
  EXPECT_NE(expect(3, {"grade"}).find("undecided"), std::string::npos);
  grader::write_file(tree_.root() / "lab01_fake" / "rubric.toml", "[lab]\n");
  EXPECT_NE(expect(3, {"grade"}).find("rubric.toml:1: lab, key 'id' is missing"), std::string::npos);
  std::filesystem::remove(tree_.build_dir() / "CMakeCache.txt");
  expect(3, {"generate"});
}

TEST_F(CliTest, HelpIsZeroAndShowsEveryOption) {
  expect(0, {"--help"});
  const std::string grade = expect(0, {"grade", "--help"});
  for (const char* option : {"--impl", "--json", "--junit", "--html", "--seed", "--fail-under", "--bench"}) {
    EXPECT_NE(grade.find(option), std::string::npos) << option;
  }
  const std::string generate = expect(0, {"generate", "--help"});
  for (const char* option : {"--model", "--prompt", "--prompt-ids", "-n", "--temperature", "--seed",
                             "--no-cache", "--impl", "--print-ids"}) {
    EXPECT_NE(generate.find(option), std::string::npos) << option;
  }
}

TEST_F(CliTest, RecordWithoutASubmissionPrintsItsUsage) {
  const std::string output = expect(2, {"record"});
  for (const char* words : {"which SUBMISSION?", ".tar.gz", "--gradescope", "--unsafe-no-sandbox"}) {
    EXPECT_NE(output.find(words), std::string::npos) << words << " in " << output;
  }
}

TEST_F(CliTest, RecordHelpShowsEveryOptionAndExitStatus) {
  const std::string help = expect(0, {"record", "--help"});
  for (const char* words : {"SUBMISSION", "--lab", "--seed", "--json", "--junit", "--html", "--gradescope",
                            "--jobs", "--unsafe-no-sandbox", "--fail-under", "exit status: 0 graded"}) {
    EXPECT_NE(help.find(words), std::string::npos) << words << " in " << help;
  }
}

TEST_F(CliTest, RecordNamesTheValueItCannotUse) {
  const std::string submission = tree_.root().string();
  const std::vector<std::vector<std::string>> wrong = {
      {"--seed", "many"},       {"--seed", "-1"},         {"--seed", "18446744073709551616"},
      {"--jobs", "0"},          {"--jobs", "x7"},         {"--fail-under", "nan"},
      {"--fail-under", "much"}, {"--no-such-option", "5"}};
  for (const std::vector<std::string>& option : wrong) {
    const std::string output = expect(2, {"record", submission, option[0], option[1]});
    EXPECT_NE(output.find(option[option[0] == "--no-such-option" ? 0 : 1]), std::string::npos) << output;
  }
  EXPECT_NE(expect(2, {"record", "/no/such.zip"}).find("'/no/such.zip'"), std::string::npos);
  EXPECT_NE(expect(2, {"record", submission, "second.zip"}).find("second.zip"), std::string::npos);
}

TEST_F(CliTest, RecordFindsOutBeforeItGradesThatAReportCannotBeWritten) {
  // The tree has no checkers: had it begun to grade, it would complain of that.
  for (const char* option : {"--html", "--json", "--junit", "--gradescope"}) {
    const std::string output =
        expect(3, {"record", tree_.root().string(), option, "/proc/no_such_folder/report"});
    EXPECT_EQ(output.find("grader: cannot write /proc/no_such_folder/report"), 0U) << output;
  }
  const std::string file = (tree_.root() / "one.json").string();
  const std::string output =
      expect(2, {"record", tree_.root().string(), "--json", file, "--gradescope", file});
  EXPECT_NE(output.find("two reports are to be written to " + file), std::string::npos) << output;
}

TEST_F(CliTest, RecordTakesLabsOneByOne) {
  // The submission after --lab is no lab.
  const std::string output = expect(2, {"record", "--lab", "lab01", "--lab", "lab02", "/no/such.zip"});
  EXPECT_NE(output.find("'/no/such.zip'"), std::string::npos) << output;
}

TEST_F(CliTest, GpuHelpShowsEveryOption) {
  const std::string gpu = expect(0, {"gpu", "--help"});
  for (const char* option : {"--json", "--architectures"})
    EXPECT_NE(gpu.find(option), std::string::npos) << option;
}

TEST_F(CliTest, GpuWithoutOneIsThreeAndSaysWhatWasLookedFor) {
  if (std::filesystem::exists("/dev/nvidia0")) GTEST_SKIP() << "there is a GPU";
  const std::string output = expect(3, {"gpu"});
  for (const char* words : {"no GPU", "nvidia-smi", "/dev/nvidia0"})
    EXPECT_NE(output.find(words), std::string::npos) << words << " in " << output;
}

TEST_F(CliTest, PlanHelpShowsEveryOption) {
  const std::string plan = expect(0, {"plan", "--help"});
  for (const char* option : {"--impl", "--model", "--device", "--batch", "--seq", "--dtype", "--kv-dtype",
                             "--group-size", "--devices", "--operations", "--json"}) {
    EXPECT_NE(plan.find(option), std::string::npos) << option;
  }
}

TEST_F(CliTest, PlanBecomesTheToolWithEveryArgument) {
  tree_.set_build_command("lab01_plan_student", "true");
  grader_tests::write_script(tree_.build_dir() / "lab01_memory_bandwidth" / "lab01_plan_student",
                             "#!/bin/sh\nfor a; do echo \"<$a>\"; done\nexit 5\n");
  const std::string output =
      expect(5, {"plan", "--batch", "16", "--model", "m", "--impl", "student", "--kv-dtype", "int8"});
  EXPECT_NE(output.find("<--model>\n<m>\n<--batch>\n<16>\n<--kv-dtype>\n<int8>\n"), std::string::npos)
      << output;
  EXPECT_EQ(output.find("--impl"), std::string::npos);
}

TEST_F(CliTest, ListShowsPointsAndTests) {
  const std::string output = expect(0, {"list"});
  EXPECT_NE(output.find("lab01  Fake   15 points"), std::string::npos) << output;
  const auto json = nlohmann::json::parse(expect(0, {"list", "--json"}));
  EXPECT_EQ(json["labs"][0]["tasks"][0]["tests"][0], "Good.A");
  EXPECT_EQ(json["labs"][0]["max_points"], 15);
}

TEST_F(CliTest, GenerateBecomesTheToolWithEveryArgument) {
  tree_.set_build_command("lab02_generate_student", "true");
  grader_tests::write_script(tree_.build_dir() / "lab02_kv_cache" / "lab02_generate_student",
                             "#!/bin/sh\nfor a; do echo \"<$a>\"; done\nexit 5\n");
  // "list" is a command of the grader, and still only a prompt here.
  const std::string output = expect(5, {"generate", "--prompt", "list", "-n", "3", "--impl", "student",
                                        "--no-cache", "--model", "m", "--temperature", "0.5"});
  EXPECT_NE(
      output.find("<--model>\n<m>\n<--prompt>\n<list>\n<-n>\n<3>\n<--temperature>\n<0.5>\n<--no-cache>\n"),
      std::string::npos)
      << output;
  EXPECT_EQ(output.find("--impl"), std::string::npos);
}

TEST_F(CliTest, DoctorSaysWhatToMend) {
  const std::string output = expect(3, {"doctor"});
  EXPECT_NE(output.find("FAIL  model target"), std::string::npos) << output;
  EXPECT_NE(output.find("git checkout -- models"), std::string::npos) << output;
}

}  // namespace
