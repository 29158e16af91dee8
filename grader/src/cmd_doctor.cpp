#include <fmt/color.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "commands.h"
#include "grader/doctor.h"
#include "grader/exit_status.h"
#include "grader/table.h"
#include "grader/text.h"
#include "kit/probe.h"

namespace grader {

namespace {

std::string health_word(Health health, bool color) {
  const char* word = health == Health::kOk ? "ok  " : health == Health::kWarning ? "warn" : "FAIL";
  if (!color) return word;
  const auto shade = health == Health::kOk        ? fmt::terminal_color::green
                     : health == Health::kWarning ? fmt::terminal_color::yellow
                                                  : fmt::terminal_color::red;
  return fmt::format(fmt::fg(shade), "{}", word);
}

void print_ceilings() {
  fmt::print("\nmeasuring this machine ...\n");
  std::fflush(stdout);
  const kit::MachineCeilings ceilings = kit::measure_ceilings();
  fmt::print(
      "  read bandwidth   {:8.1f} GB/s\n  copy bandwidth   {:8.1f} GB/s\n  FP32 FMA peak    {:8.1f} "
      "GFLOP/s\n",
      ceilings.read_gb_per_s, ceilings.copy_gb_per_s, ceilings.peak_gflop_per_s);
  fmt::print("  with {} threads over {}; last-level cache {}\n", ceilings.n_threads,
             format_bytes(static_cast<double>(ceilings.buffer_bytes)),
             ceilings.last_level_cache_bytes > 0
                 ? format_bytes(static_cast<double>(ceilings.last_level_cache_bytes))
                 : "unknown");
}

int run_doctor(bool measure, const Context& context) {
  const bool color = wants_color(stdout);
  std::vector<Check> checks = check_machine(context.root, context.build_dir);
  for (Check& check : check_sandbox(context.root)) checks.push_back(std::move(check));
  for (const Check& check : checks) {
    fmt::print("  {}  {} {}\n", health_word(check.health, color), pad(check.name, 17), check.found);
    if (!check.mend.empty()) fmt::print("        {} {}\n", pad("", 17), check.mend);
  }
  if (measure) print_ceilings();
  const auto n_failed = std::count_if(checks.begin(), checks.end(),
                                      [](const Check& check) { return check.health == Health::kFailure; });
  if (n_failed == 0) {
    fmt::print("\nThis machine is ready.\n");
    return kExitGraded;
  }
  fmt::print("\n{} of {} checks failed: mend them as said above.\n", n_failed, checks.size());
  return kExitInfrastructure;
}

}  // namespace

void add_doctor_command(CLI::App& app, Context& context) {
  const auto measure = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("doctor", "Check this machine and say how to mend what is wrong");
  command->add_flag("--measure", *measure, "Also measure memory bandwidth and FMA rate");
  command->callback(
      [measure, &context] { context.run = [measure, &context] { return run_doctor(*measure, context); }; });
}

}  // namespace grader
