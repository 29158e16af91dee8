#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "commands.h"
#include "grade_run.h"
#include "grader/error.h"
#include "grader/exit_status.h"
#include "grader/record.h"

namespace grader {

namespace {

struct Options {
  std::filesystem::path submission;
  std::vector<std::string> labs;
  std::optional<std::uint64_t> seed;
  bool unsafe = false;
  std::vector<std::string> parts;
  std::filesystem::path object_cache;
  RecordOptions::Patience patience;
  GradeRunOptions run;
};

RecordOptions record_options(const Options& options, const Context& context) {
  RecordOptions record;
  record.root = context.root;
  record.build_dir = context.build_dir;
  record.submission = options.submission;
  record.labs = options.labs;
  record.seed = options.seed;
  record.n_jobs = options.run.n_jobs;
  record.patience = options.patience;
  record.parts = options.parts;
  if (!options.object_cache.empty()) record.object_cache = std::filesystem::absolute(options.object_cache);
  record.protection = options.unsafe ? Protection::kNone : Protection::kBubblewrap;
  return record;
}

int run_record(const Options& options, const Context& context, const std::string& usage) {
  if (options.submission.empty()) {
    fmt::print(stderr, "grader: which SUBMISSION? A folder, a .zip or a .tar.gz\n\n{}", usage);
    return kExitUsage;
  }
  if (!std::filesystem::exists(options.submission)) {
    // ./kit works at the top of the tree, wherever it was called.
    throw UsageError(fmt::format("there is no submission '{}' in {}", options.submission.string(),
                                 std::filesystem::current_path().string()));
  }
  GradeRunOptions run = options.run;
  if (run.files.html.empty()) {
    run.files.html = context.build_dir / "reports" / report_folder(options.submission) / "record.html";
  }
  run.files.html = std::filesystem::absolute(run.files.html);
  if (run.files.json.empty()) run.files.json = run.files.html.parent_path() / "record.json";
  return run_and_report(
      run, context, [&](Progress& progress) { return record(record_options(options, context), progress); });
}

}  // namespace

void add_record_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("record", "Grade a submission of somebody else, in a sandbox: a score of record");
  command->add_option("SUBMISSION", options->submission, "What was handed in: a folder, a .zip or a .tar.gz");
  // One name each: a list would swallow the SUBMISSION after it.
  command
      ->add_option("--lab", options->labs,
                   "Lab to grade: lab02, 02, 2 or lab02_kv_cache; may be repeated (default: all)")
      ->allow_extra_args(false);
  command->add_option("--seed", options->seed, "Seed of the tests' random inputs (default: drawn now)")
      ->check(seed_validator());
  add_grade_run_options(*command, options->run, "reports/SUBMISSION-.../record.html", "record.json");
  command->add_option("--gradescope", options->run.files.gradescope,
                      "Write Gradescope's results.json there; not written when points are undecided, so that "
                      "Gradescope shows a failed autograder and no wrong score");
  command->add_flag("--unsafe-no-sandbox", options->unsafe,
                    "Work where no sandbox does. The submission can then read and write what you can, and "
                    "forge its score; the report is stamped");
  command->add_option(
      "--object-cache", options->object_cache,
      "Keep compiled objects in this folder, and use those of equal files: for a whole class. "
      "Empty it after an upgrade of the system");
  // For the kit's own tests: no group, so no line in the help.
  command->add_option("--part", options->parts)->allow_extra_args(false)->group("");
  command->add_option("--test-cpu-seconds", options->patience.test_cpu_seconds)->group("");
  command->add_option("--test-wall-seconds", options->patience.test_wall_seconds)->group("");
  command->add_option("--compile-cpu-seconds", options->patience.compile_cpu_seconds)->group("");
  command->add_option("--compile-wall-seconds", options->patience.compile_wall_seconds)->group("");
  command->callback([options, command, &context] {
    context.run = [options, command, &context] {
      return run_record(*options, context, command->help("grader"));
    };
  });
}

}  // namespace grader
