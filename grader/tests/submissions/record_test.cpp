#include <gtest/gtest.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <toml++/toml.h>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "../turns.h"
#include "grader/error.h"
#include "grader/files.h"
#include "grader/process.h"
#include "grader/record.h"
#include "grader/rubric.h"

// The same wheats and chaffs as in practice (submissions_test.cpp), handed in for a run of record: the same
// points. Each is the solution with its own files in place. Compiling is what takes the time, so several that
// cannot touch each other's tasks are handed in together.

namespace {

namespace fs = std::filesystem;

const fs::path kRoot = KIT_ROOT;
const fs::path kFolder = kRoot / "grader/tests/submissions";

/// A wheat or chaff: expect.toml, and the files that differ from the solution.
struct Submission {
  std::string lab;
  std::string name;
  std::set<std::string> files;
  std::set<std::string> loses;
  std::vector<std::string> says;
  std::string verdict;
  /// Wheats, and those that end in another way than with a wrong answer: graded in practice every time
  /// (submissions_test.cpp), in a run of record only in the long mode of ./kit test.
  bool is_graded_in_practice = false;
};

/// Submissions that are graded as one.
struct Group {
  std::string name;
  std::string lab;
  std::vector<Submission> members;
  bool is_long = false;   ///< only in the long mode
  std::size_t place = 0;  ///< among all groups, which take turns
};
void PrintTo(const Group& group, std::ostream* out) {  // NOLINT(readability-identifier-naming): gtest's
  *out << group.name;
}

std::vector<std::string> strings(const toml::array* array) {
  std::vector<std::string> result;
  if (array == nullptr) return result;
  for (const auto& item : *array) result.push_back(item.value<std::string>().value());
  return result;
}

Submission read_submission(const fs::path& folder) {
  Submission submission;
  submission.lab = folder.parent_path().filename().string();
  submission.name = folder.filename().string();
  const toml::table table = toml::parse_file((folder / "expect.toml").string());
  const std::vector<std::string> loses = strings(table["loses"].as_array());
  submission.loses = {loses.begin(), loses.end()};
  submission.says = strings(table["says"].as_array());
  submission.verdict = table["verdict"].value_or("");
  submission.is_graded_in_practice = loses.empty() || !submission.verdict.empty();
  for (const auto& file : fs::directory_iterator(folder)) {
    const std::string name = file.path().filename().string();
    if (name != "expect.toml") submission.files.insert(name);
  }
  return submission;
}

/// Files whose functions call each other, or whose tests are about both: a mistake in one may change what is
/// said of another.
const std::map<std::string, std::string> kParts = {{"copy.cu", "cuda"},
                                                   {"reduction.cu", "cuda"},
                                                   {"transpose.cu", "cuda"},
                                                   {"stream.cpp", "stream"},
                                                   {"attention.cpp", "attention"},
                                                   {"attention_with_cache.cpp", "attention"},
                                                   {"generate.cpp", "generate"},
                                                   {"kv_cache.cpp", "generate"},
                                                   {"block_allocator.cpp", "block_allocator"},
                                                   {"paged_kv_cache.cpp", "paged_kv_cache"},
                                                   {"prefix_cache.cpp", "prefix_cache"},
                                                   {"paged_attention.cpp", "paged_attention"},
                                                   {"kv_memory.cpp", "kv_memory"},
                                                   {"decode_attention.cu", "cuda"},
                                                   {"cache_kernels.cu", "cuda"},
                                                   {"metrics.cpp", "metrics"},
                                                   {"static_batching.cpp", "batching"},
                                                   {"continuous_batching.cpp", "batching"},
                                                   {"step_cost.cpp", "step_cost"},
                                                   {"operating_point.cpp", "operating_point"},
                                                   {"scheduler.cpp", "scheduler"},
                                                   {"engine.cpp", "engine"},
                                                   {"ragged_attention.cpp", "ragged_attention"},
                                                   {"ragged_decode.cu", "ragged_attention"},
                                                   {"symmetric.cpp", "symmetric"},
                                                   {"asymmetric.cpp", "asymmetric"},
                                                   {"per_channel.cpp", "per_channel"},
                                                   {"error_metrics.cpp", "error_metrics"},
                                                   {"bit_packing.cpp", "groups"},
                                                   {"group_quantization.cpp", "groups"},
                                                   {"weight_only_products.cpp", "products"},
                                                   {"fast_products.cpp", "products"},
                                                   {"int8_products.cpp", "products"},
                                                   {"gptq.cpp", "gptq"},
                                                   {"awq.cpp", "awq"},
                                                   {"smoothquant.cpp", "smoothquant"},
                                                   {"fp8.cpp", "fp8"},
                                                   {"kv_quantization.cpp", "kv"},
                                                   {"mixed_precision.cpp", "mixed"},
                                                   {"incoherence.cpp", "codebooks"},
                                                   {"additive_codebooks.cpp", "codebooks"},
                                                   {"quantize_rows.cu", "cuda"},
                                                   {"matvec_w4a16.cu", "cuda"},
                                                   {"linear_w8a8.cu", "cuda"},
                                                   {"int8_decode_attention.cu", "cuda"},
                                                   {"online_softmax.cpp", "online_softmax"},
                                                   {"softmax_state.cpp", "softmax_state"},
                                                   {"flash_forward.cpp", "flash"},
                                                   {"variable_length.cpp", "flash"},
                                                   {"io_model.cpp", "io_model"},
                                                   {"flash_forward.cu", "cuda"},
                                                   {"flash_decoding.cu", "decoding"},
                                                   {"flash_tensor_cores.cu", "tensor_cores"},
                                                   {"distribution.cpp", "decoder"},
                                                   {"acceptance.cpp", "decoder"},
                                                   {"speculative_round.cpp", "decoder"},
                                                   {"rollback.cpp", "decoder"},
                                                   {"speculative_decoder.cpp", "decoder"},
                                                   {"ngram.cpp", "ngram"},
                                                   {"batched.cpp", "batched"},
                                                   {"speedup_model.cpp", "speedup_model"},
                                                   {"tree.cpp", "tree"},
                                                   {"verify_drafts.cu", "cuda"}};

std::string part_of(const std::string& file) {
  const auto part = kParts.find(file);
  return part == kParts.end() ? "numbers" : part->second;
}

std::set<std::string> parts(const Submission& submission) {
  std::set<std::string> result;
  for (const std::string& file : submission.files) result.insert(part_of(file));
  return result;
}

bool overlap(const std::set<std::string>& a, const std::set<std::string>& b) {
  return std::ranges::any_of(a, [&](const std::string& x) { return b.contains(x); });
}

bool fits(const Group& group, const Submission& submission) {
  return group.lab == submission.lab && group.is_long == submission.is_graded_in_practice &&
         std::ranges::none_of(group.members, [&](const Submission& member) {
           return overlap(parts(member), parts(submission)) || overlap(member.loses, submission.loses);
         });
}

std::vector<Group> groups() {
  std::vector<fs::path> folders;
  for (const auto& lab : fs::directory_iterator(kFolder)) {
    if (!lab.is_directory()) continue;
    for (const auto& entry : fs::directory_iterator(lab)) {
      if (fs::exists(entry.path() / "expect.toml")) folders.push_back(entry.path());
    }
  }
  std::ranges::sort(folders);
  std::vector<Group> result;
  for (const fs::path& folder : folders) {
    Submission submission = read_submission(folder);
    auto group = std::ranges::find_if(result, [&](const Group& g) { return fits(g, submission); });
    if (group == result.end()) {
      result.push_back(
          {.name = "", .lab = submission.lab, .members = {}, .is_long = submission.is_graded_in_practice});
      group = result.end() - 1;
    }
    group->name += (group->name.empty() ? submission.lab + "_" : "_and_") + submission.name;
    group->members.push_back(std::move(submission));
  }
  for (std::size_t k = 0; k < result.size(); ++k) result[k].place = k;
  return result;
}

const grader::Rubric& rubric_of(const std::string& lab) {
  static const std::vector<grader::Rubric> labs = grader::load_labs(kRoot);
  for (const grader::Rubric& rubric : labs) {
    if (rubric.id == lab) return rubric;
  }
  throw std::runtime_error("no lab " + lab);
}

/// The solution with the members' files in its place, as a student hands it in.
fs::path hand_in(const std::string& lab, const std::vector<Submission>& members, const fs::path& target) {
  const std::string& folder = rubric_of(lab).folder;
  const fs::path src = target / folder / "src";
  fs::create_directories(src);
  for (const auto& file : fs::directory_iterator(kRoot / "solutions" / folder)) fs::copy(file.path(), src);
  for (const Submission& member : members) {
    for (const std::string& file : member.files)
      fs::copy_file(kFolder / lab / member.name / file, src / file, fs::copy_options::overwrite_existing);
  }
  return target;
}

/// A task or a milestone.
struct Part {
  std::string id;
  int points;
  int max_points;
  grader::Verdict verdict;
  std::vector<grader::TestResult> tests;
};

std::vector<Part> graded_parts(const grader::Results& results) {
  std::vector<Part> all;
  for (const auto& task : results.tasks)
    all.push_back({task.task, task.points, task.max_points, task.verdict, task.tests});
  for (const auto& m : results.milestones) all.push_back({m.id, m.points, m.max_points, m.verdict, {m.test}});
  return all;
}

/// A milestone that measures time says so where the machine is too busy to tell: no mistake of the grader.
bool is_noise(const Part& part) {
  return part.verdict == grader::Verdict::kInconclusive && part.tests.size() == 1 &&
         part.tests.front().message.find("too noisy to tell") != std::string::npos;
}

std::string messages(const grader::Results& results) {
  std::string text;
  for (const Part& part : graded_parts(results)) {
    for (const auto& test : part.tests) {
      if (test.verdict == grader::Verdict::kPassed) continue;
      text += fmt::format("[{}] {} {}: {}\n", part.id, test.name, grader::verdict_name(test.verdict),
                          test.message);
    }
  }
  return text;
}

/// Why no sandbox works here; empty when one does.
const std::string& sandbox_problem() {
  static const std::string problem = []() -> std::string {
    try {
      grader::Sandbox::open(grader::Protection::kBubblewrap);
      return "";
    } catch (const grader::InfrastructureError& error) {
      return error.what();
    }
  }();
  return problem;
}

class Record : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!sandbox_problem().empty()) GTEST_SKIP() << "no sandbox works here: " << sandbox_problem();
  }

  grader::Results record(const std::string& lab, const std::vector<Submission>& members,
                         const std::vector<std::string>& parts = {}) const {
    grader::RecordOptions options;
    options.root = kRoot;
    options.build_dir = KIT_BUILD_DIR;
    options.submission = hand_in(lab, members, work_.path() / "submission");
    options.labs = {lab};
    options.parts = parts;
    options.object_cache = fs::path(KIT_BUILD_DIR) / "record_objects";
    grader::Progress silent;
    return grader::record(options, silent);
  }

 private:
  grader::ScratchFolder work_{fs::path(KIT_BUILD_DIR) / "handed_in"};
};

/// What the short run grades of a group: everything but milestones that run a model for long and that no
/// member is to lose. Empty, for all, in the long run.
std::vector<std::string> short_list(const Group& group) {
  std::vector<std::string> ids;
  if (std::getenv("KIT_ALL_SUBMISSIONS") != nullptr) return ids;
  const auto is_lost = [&](const std::string& id) {
    return std::ranges::any_of(group.members, [&](const Submission& m) { return m.loses.contains(id); });
  };
  const grader::Rubric& rubric = rubric_of(group.lab);
  for (const auto& task : rubric.tasks) ids.push_back(task.id);
  for (const auto& milestone : rubric.milestones) {
    if (!milestone.slow || is_lost(milestone.id)) ids.push_back(milestone.id);
  }
  return ids;
}

class RecordedSubmission : public Record, public ::testing::WithParamInterface<Group> {};

TEST_P(RecordedSubmission, EarnsWhatItEarnsInPractice) {
  if (GetParam().is_long && std::getenv("KIT_ALL_SUBMISSIONS") == nullptr)
    GTEST_SKIP() << "graded by submissions_tests; here, too, in ./kit test --long (KIT_ALL_SUBMISSIONS=1)";
  // All of them take longer than a short run has.
  if (!grader_tests::has_its_turn(GetParam().place))
    GTEST_SKIP() << "its turn is another day; in ./kit test --long (KIT_ALL_SUBMISSIONS=1) it is every day's";
  const grader::Results results = record(GetParam().lab, GetParam().members, short_list(GetParam()));
  const std::string said = messages(results);
  EXPECT_EQ(results.mode, "record");

  std::set<std::string> lost;
  for (const Part& part : graded_parts(results)) {
    if (part.points == part.max_points || is_noise(part)) continue;
    lost.insert(part.id);
    EXPECT_EQ(part.points, 0) << part.id;
  }
  std::set<std::string> expected;
  for (const Submission& member : GetParam().members) {
    expected.insert(member.loses.begin(), member.loses.end());
    for (const std::string& phrase : member.says) {
      EXPECT_NE(said.find(phrase), std::string::npos) << member.name << ": nothing says '" << phrase << "':\n"
                                                      << said;
    }
    if (!member.verdict.empty()) {
      EXPECT_NE(said.find(" " + member.verdict + ": "), std::string::npos) << said;
    }
  }
  EXPECT_EQ(lost, expected) << said;
}

INSTANTIATE_TEST_SUITE_P(All, RecordedSubmission, ::testing::ValuesIn(groups()),
                         [](const auto& info) { return info.param.name; });

constexpr const char* kAnotherDay =
    "labs take turns; in ./kit test --long (KIT_ALL_SUBMISSIONS=1) it is every day's";

/// Every lab that has a rubric.
std::vector<std::string> lab_ids() {
  std::vector<std::string> ids;
  for (const grader::Rubric& rubric : grader::load_labs(kRoot)) ids.push_back(rubric.id);
  return ids;
}

class RecordedSolution : public Record, public ::testing::WithParamInterface<std::string> {
 protected:
  /// One lab a day; the two tests do not meet on the same one.
  static bool is_day(std::size_t shift) {
    const std::vector<std::string> labs = lab_ids();
    const auto place = static_cast<std::size_t>(std::ranges::find(labs, GetParam()) - labs.begin());
    return grader_tests::has_its_turn((place + shift) % labs.size(), labs.size());
  }
};

TEST_P(RecordedSolution, EarnsEveryPoint) {
  if (!is_day(0)) GTEST_SKIP() << kAnotherDay;
  const grader::Results results = record(GetParam(), {});
  int noise = 0;
  int everything = 0;  // stretch tasks, too
  for (const Part& part : graded_parts(results)) {
    noise += is_noise(part) ? part.max_points : 0;
    everything += part.max_points;
  }
  EXPECT_GT(results.max_score(), 0);
  EXPECT_EQ(results.score() + noise, everything) << messages(results);
}

/// What makes the build folder look as if it were another user's, for one command: an overlay that ends with
/// it. $1 build folder, $2 where changes go, $3 user, the rest: command.
constexpr const char* kAsAnotherUser = R"(
set -e
build=$1 changes=$2 user=$3
shift 3
mkdir -p "$changes/upper" "$changes/work"
mount -t overlay overlay -o "lowerdir=$build,upperdir=$changes/upper,workdir=$changes/work" "$build" || exit 77
chown "$user:$user" "$build" "$build"/.ninja_*
[ ! -d "$build/grading" ] || chown -R "$user:$user" "$build/grading"
cd /
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
)";

TEST_P(RecordedSolution, EarnsEveryPointForANormalUser) {
  constexpr const char* kUser = "65534";
  if (!is_day(1)) GTEST_SKIP() << kAnotherDay;
  if (::geteuid() != 0) GTEST_SKIP() << "this is a normal user: EarnsEveryPoint is the same test";
  const grader::ScratchFolder folder(fs::temp_directory_path() / "kit-record-user");
  fs::permissions(folder.path().parent_path(), fs::perms(0755));
  fs::permissions(folder.path(), fs::perms(0777));
  const fs::path submission = hand_in(GetParam(), {}, folder.path() / "submission");
  const fs::path json = folder.path() / "record.json";
  grader::Command command;
  command.argv = {"unshare",      "--mount",
                  "sh",           "-c",
                  kAsAnotherUser, "sh",
                  KIT_BUILD_DIR,  (folder.path() / "changes").string(),
                  kUser,          GRADER_BINARY,
                  "record",       submission.string(),
                  "--lab",        GetParam(),
                  "--json",       json.string(),
                  "--html",       (folder.path() / "record.html").string()};
  command.environment = {{"KIT_ROOT", KIT_ROOT}, {"KIT_BUILD_DIR", KIT_BUILD_DIR}};
  const grader::ProcessResult process = grader::run_process(command);
  if (process.exit_code == 77) GTEST_SKIP() << "no overlay can be mounted here: " << process.output;
  ASSERT_TRUE(fs::exists(json)) << process.output;
  const auto results = nlohmann::json::parse(grader::read_file(json));
  int noise = 0;
  int everything = 0;  // stretch tasks, too
  for (const char* kind : {"tasks", "milestones"}) {
    for (const auto& part : results[kind]) {
      everything += part["max_points"].get<int>();
      if (part["verdict"] == "inconclusive") noise += part["max_points"].get<int>();
    }
  }
  EXPECT_GE(everything, results["max_score"].get<int>());
  EXPECT_EQ(results["score"].get<int>() + noise, everything) << process.output;
}

INSTANTIATE_TEST_SUITE_P(All, RecordedSolution, ::testing::ValuesIn(lab_ids()),
                         [](const auto& info) { return info.param; });

}  // namespace
