#include <gtest/gtest.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <toml++/toml.h>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "../turns.h"
#include "grader/files.h"
#include "grader/grade.h"
#include "grader/process.h"
#include "grader/rubric.h"

// The proofs that the kit grades right: stubs earn nothing, solutions everything, a right solution written
// differently everything, and one with a single mistake all but the tasks that it breaks.

namespace {

namespace fs = std::filesystem;

/// A folder under grader/tests/submissions/<lab>/.
struct Submission {
  std::string lab;
  std::string name;
};
void PrintTo(const Submission& submission,
             std::ostream* out) {  // NOLINT(readability-identifier-naming): gtest's
  *out << submission.lab << '/' << submission.name;
}

/// expect.toml of a submission.
struct Expectation {
  std::string description;
  bool is_wheat = false;
  std::set<std::string> loses;    ///< ids of tasks and milestones that earn nothing
  std::vector<std::string> says;  ///< each stands in some message of what is lost
  std::string verdict;            ///< of at least one test, when given
};

const fs::path kFolder = fs::path(KIT_ROOT) / "grader/tests/submissions";

std::vector<std::string> strings(const toml::array* array) {
  std::vector<std::string> result;
  if (array == nullptr) return result;
  for (const auto& item : *array) result.push_back(item.value<std::string>().value());
  return result;
}

Expectation read_expectation(const Submission& submission) {
  const toml::table table =
      toml::parse_file((kFolder / submission.lab / submission.name / "expect.toml").string());
  const std::vector<std::string> loses = strings(table["loses"].as_array());
  const bool wheat = table["kind"].value<std::string>().value() == "wheat";
  Expectation expectation{.description = table["description"].value<std::string>().value(),
                          .is_wheat = wheat,
                          .loses = {loses.begin(), loses.end()},
                          .says = strings(table["says"].as_array()),
                          .verdict = table["verdict"].value_or("")};
  EXPECT_EQ(wheat, loses.empty()) << "a wheat loses nothing, a chaff something";
  EXPECT_EQ(wheat, expectation.says.empty()) << "a chaff's mistake must be named";
  return expectation;
}

grader::Results grade(const std::string& lab, const std::string& variant) {
  grader::GradeOptions options;
  options.root = KIT_ROOT;
  options.build_dir = KIT_BUILD_DIR;
  options.labs = {lab};
  options.variant = variant;
  options.impl = variant;
  options.build = false;
  options.n_jobs = 1;  // ctest runs submissions side by side
  grader::Progress silent;
  return grader::grade(options, silent);
}

/// One part of a grading, task or milestone, in one shape.
struct Part {
  std::string id;
  int points;
  int max_points;
  grader::Verdict verdict;
  std::vector<grader::TestResult> tests;
};

/// Submissions are graded side by side, and a milestone that measures time may then be too noisy to tell.
/// That is no mistake of the grader: it says so instead of guessing, and takes nothing away silently.
bool is_noise(const Part& part) {
  return part.verdict == grader::Verdict::kInconclusive && part.tests.size() == 1 &&
         part.tests.front().message.find("too noisy to tell") != std::string::npos;
}

std::vector<Part> parts(const grader::Results& results) {
  std::vector<Part> all;
  for (const auto& task : results.tasks)
    all.push_back({task.task, task.points, task.max_points, task.verdict, task.tests});
  for (const auto& m : results.milestones) all.push_back({m.id, m.points, m.max_points, m.verdict, {m.test}});
  return all;
}

/// Everything that was said about what is lost.
std::string messages(const grader::Results& results) {
  std::string text;
  for (const Part& part : parts(results)) {
    for (const auto& test : part.tests) {
      if (test.verdict == grader::Verdict::kPassed) continue;
      text += fmt::format("[{}] {} {}: {}\n", part.id, test.name, grader::verdict_name(test.verdict),
                          test.message);
    }
  }
  return text;
}

std::vector<Submission> registered() {
  std::vector<Submission> all;
  std::stringstream list(KIT_SUBMISSIONS);
  for (std::string target; std::getline(list, target, ',');) {
    const std::string infix = "_tests_submission_";
    const std::size_t at = target.find(infix);
    all.push_back({target.substr(0, at), target.substr(at + infix.size())});
  }
  return all;
}

/// Builds the program of a submission. Two tests of ctest -j may want to at the same time; ninja does not
/// look.
void build(const Submission& submission) {
  grader::Command command;
  command.argv = {
      "flock",    (fs::path(KIT_BUILD_DIR) / "submissions.lock").string(), "cmake", "--build", KIT_BUILD_DIR,
      "--target", submission.lab + "_tests_submission_" + submission.name};
  const grader::ProcessResult built = grader::run_process(command);
  ASSERT_TRUE(built.succeeded()) << built.output;
}

/// Wheats take turns in the short run.
bool is_day_of_wheat(const Submission& wheat) {
  std::size_t place = 0;
  for (const Submission& submission : registered()) {
    if (submission.lab == wheat.lab && submission.name == wheat.name) break;
    place += submission.name.starts_with("wheat_") ? 1 : 0;
  }
  return grader_tests::has_its_turn(place);
}

class SubmissionTest : public ::testing::TestWithParam<Submission> {};

TEST_P(SubmissionTest, EarnsExactlyWhatItShould) {
  ::setenv("KIT_QUICK", "1", 1);  // for the graded processes: what measures this machine measures little
  const Expectation expected = read_expectation(GetParam());
  if (!expected.is_wheat && expected.verdict.empty() && std::getenv("KIT_ALL_SUBMISSIONS") == nullptr)
    GTEST_SKIP() << "graded by record_tests; here, too, in ./kit test --long (KIT_ALL_SUBMISSIONS=1)";
  if (expected.is_wheat && !is_day_of_wheat(GetParam()))
    GTEST_SKIP() << "its turn is another day; in ./kit test --long (KIT_ALL_SUBMISSIONS=1) it is every day's";
  ASSERT_NO_FATAL_FAILURE(build(GetParam()));
  const grader::Results results = grade(GetParam().lab, "submission_" + GetParam().name);
  const std::string said = messages(results);
  SCOPED_TRACE(expected.description);

  std::set<std::string> lost;
  for (const Part& part : parts(results)) {
    if (part.points == part.max_points || is_noise(part)) continue;
    lost.insert(part.id);
    EXPECT_EQ(part.points, 0) << part.id;
  }
  EXPECT_EQ(lost, expected.loses) << said;
  for (const std::string& phrase : expected.says) {
    EXPECT_NE(said.find(phrase), std::string::npos) << "nothing says '" << phrase << "':\n" << said;
  }
  if (!expected.verdict.empty()) {
    EXPECT_NE(said.find(" " + expected.verdict + ": "), std::string::npos) << said;
  }
}

INSTANTIATE_TEST_SUITE_P(All, SubmissionTest, ::testing::ValuesIn(registered()),
                         [](const auto& info) { return info.param.lab + "_" + info.param.name; });

TEST(Submissions, EveryFolderIsRegistered) {
  std::set<std::string> on_disk;
  for (const auto& lab : fs::directory_iterator(kFolder)) {
    if (!lab.is_directory()) continue;
    for (const auto& entry : fs::directory_iterator(lab)) {
      if (entry.is_directory())
        on_disk.insert(lab.path().filename().string() + "/" + entry.path().filename().string());
    }
  }
  std::set<std::string> known;
  for (const Submission& submission : registered()) known.insert(submission.lab + "/" + submission.name);
  EXPECT_EQ(on_disk, known) << "add the folder to grader/tests/submissions/CMakeLists.txt";
}

/// Both proofs cover every lab that has a rubric.
std::vector<std::string> labs() {
  std::vector<std::string> ids;
  for (const grader::Rubric& rubric : grader::load_labs(KIT_ROOT)) ids.push_back(rubric.id);
  return ids;
}

TEST(Rubrics, NameEveryTest) {
  for (const grader::Rubric& lab : grader::load_labs(KIT_ROOT)) {
    grader::Command command;
    command.argv = {(fs::path(KIT_BUILD_DIR) / lab.folder / (lab.id + "_tests_solution")).string(),
                    "--gtest_list_tests"};
    const grader::ProcessResult listed = grader::run_process(command);
    ASSERT_TRUE(listed.succeeded()) << listed.output;
    const std::string rubric = grader::read_file(fs::path(KIT_ROOT) / lab.folder / "rubric.toml");
    std::stringstream lines(listed.output);
    std::string suite;
    int n_tests = 0;
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("  ")) {
        suite = line;
        continue;
      }
      EXPECT_NE(rubric.find('"' + suite + line.substr(2) + '"'), std::string::npos)
          << suite << line.substr(2) << " earns nothing in " << lab.folder << "/rubric.toml";
      ++n_tests;
    }
    EXPECT_GT(n_tests, 0) << listed.output;
  }
}

class Stubs : public ::testing::TestWithParam<std::string> {};

/// Whether the message names a task to write: the test's own, or an earlier one that it stands on, as the
/// sliding window (lab05 task 4) does on flash_attention (task 3).
bool names_a_task_until(const std::string& message, const std::string& lab, int number) {
  for (int n = 1; n <= number; ++n) {
    if (message.find(fmt::format("{} task {}:", lab, n)) != std::string::npos) return true;
  }
  return false;
}

TEST_P(Stubs, FailEveryTestByNamingTheTask) {
  grader::Command diff;
  diff.argv = {"git", "-C", KIT_ROOT, "diff", "--quiet", "HEAD", "--", "lab*/src"};
  const grader::ProcessResult clean = grader::run_process(diff);
  if (!clean.succeeded())
    GTEST_SKIP() << "src/ was edited (or this is no git checkout): the proof needs untouched stubs";
  const grader::Results results = grade(GetParam(), "student");
  EXPECT_EQ(results.score(), 0);
  for (const auto& task : results.tasks) {
    ASSERT_FALSE(task.tests.empty());
    for (const auto& test : task.tests) {
      EXPECT_EQ(test.verdict, grader::Verdict::kNotImplemented) << test.name << ": " << test.message;
      EXPECT_TRUE(names_a_task_until(test.message, GetParam(), task.number))
          << test.name << " of task " << task.number << " says: " << test.message;
    }
  }
  for (const auto& milestone : results.milestones) {
    EXPECT_EQ(milestone.verdict, grader::Verdict::kNotImplemented)
        << milestone.id << ": " << milestone.test.message;
    EXPECT_NE(milestone.test.message.find(GetParam() + " task "), std::string::npos)
        << milestone.test.message;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Stubs, ::testing::ValuesIn(labs()),
                         [](const auto& info) { return info.param; });

class Solutions : public ::testing::TestWithParam<std::string> {};

TEST_P(Solutions, EarnEveryPoint) {
  ::unsetenv("KIT_QUICK");
  const grader::Results results = grade(GetParam(), "solution");
  EXPECT_GT(results.max_score(), 0);
  int noise = 0;
  int everything = 0;  // stretch tasks, too
  for (const Part& part : parts(results)) {
    noise += is_noise(part) ? part.max_points : 0;
    everything += part.max_points;
  }
  EXPECT_EQ(noise, results.undecided_points()) << messages(results);
  EXPECT_EQ(results.score() + noise, everything) << messages(results);
}

INSTANTIATE_TEST_SUITE_P(All, Solutions, ::testing::ValuesIn(labs()),
                         [](const auto& info) { return info.param; });

}  // namespace
