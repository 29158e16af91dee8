#include "grader/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <set>

#include "grader/error.h"
#include "grader/machine.h"
#include "grader/process.h"
#include "grader/rubric.h"
#include "grader/text.h"
#include "kit/llama.h"
#include "kit/tokenizer.h"

namespace grader {

namespace {

/// First line that a program prints; "" when it is not there or fails.
std::string first_line(const std::vector<std::string>& argv) {
  constexpr double kPatience = 20;
  Command command;
  command.argv = argv;
  command.limits.wall_seconds = kPatience;
  try {
    const ProcessResult result = run_process(command);
    return result.succeeded() ? shorten(clean_text(result.output), 1, 200) : "";
  } catch (const InfrastructureError&) {
    return "";
  }
}

Check check_compiler(const std::string& compiler) {
  const bool good = (compiler.starts_with("GNU") && at_least(compiler, {12})) ||
                    (compiler.starts_with("Clang") && at_least(compiler, {14}));
  if (good) return {"compiler", Health::kOk, compiler, ""};
  return {"compiler", Health::kFailure, compiler,
          "needs GCC 12 or Clang 14: apt-get install g++, then configure again"};
}

Check check_tool(const std::string& name, const std::string& package, const std::vector<int>& minimum) {
  const std::string line = first_line({name, "--version"});
  if (line.empty()) return {name, Health::kFailure, "not found", "apt-get install " + package};
  if (!at_least(line, minimum)) {
    return {name, Health::kFailure, line, fmt::format("needs {} or newer", fmt::join(minimum, "."))};
  }
  return {name, Health::kOk, line, ""};
}

Check check_cuda() {
  const std::string output = first_line({"nvcc", "--version"});
  if (output.empty()) {
    return {
        "CUDA toolkit", Health::kWarning, "not found (optional)",
        "kernels still run on the kit's executor; for a GPU install the CUDA toolkit and use --preset cuda"};
  }
  return {"CUDA toolkit", Health::kOk, output, ""};
}

Check check_gpu() {
  const std::string name =
      first_line({"nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"});
  if (name.empty()) return {"GPU", Health::kWarning, "none (optional)", "every task can be done without one"};
  return {"GPU", Health::kOk, name, ""};
}

Check check_memory() {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const auto total = static_cast<double>(total_memory_bytes());
  const auto available = static_cast<double>(available_memory_bytes());
  const std::string found = fmt::format("{}, {} available", format_bytes(total), format_bytes(available));
  if (available < 1 * kGiB) return {"memory", Health::kFailure, found, "needs 1 GiB: close other programs"};
  if (available < 4 * kGiB) {
    return {"memory", Health::kWarning, found,
            "with less than 4 GiB, build with fewer jobs (cmake --build build -j 1)"};
  }
  return {"memory", Health::kOk, found, ""};
}

Check check_disk(const std::filesystem::path& build_dir) {
  std::error_code error;
  const std::filesystem::path place =
      std::filesystem::exists(build_dir) ? build_dir : build_dir.parent_path();
  const std::filesystem::space_info space = std::filesystem::space(place, error);
  if (error) return {"disk", Health::kFailure, error.message(), "is the build folder readable?"};
  const std::string found = fmt::format("{} free", format_bytes(static_cast<double>(space.available)));
  constexpr std::uintmax_t kMiB = std::uintmax_t{1} << 20;
  if (space.available < 300 * kMiB)
    return {"disk", Health::kFailure, found, "a build needs 300 MiB: free some space"};
  if (space.available < 2048 * kMiB)
    return {"disk", Health::kWarning, found, "all build folders together need 2 GiB"};
  return {"disk", Health::kOk, found, ""};
}

Check check_cpu(const Machine& machine) {
  const std::vector<std::string> flags = cpu_flags();
  const std::set<std::string> have(flags.begin(), flags.end());
  std::vector<std::string> useful;
  for (const char* flag :
       {"avx2", "fma", "f16c", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "asimdhp", "sve"}) {
    if (have.contains(flag)) useful.emplace_back(flag);
  }
  const std::string found =
      fmt::format("{}, {} cores, {}", machine.cpu, machine.n_cores,
                  useful.empty() ? "no SIMD features known" : fmt::format("{}", fmt::join(useful, " ")));
  const bool fast = (have.contains("avx2") && have.contains("fma")) || have.contains("asimd");
  if (fast) return {"processor", Health::kOk, found, ""};
  return {"processor", Health::kWarning, found,
          "without AVX2 and FMA (or NEON) stories come slowly; grades are the same"};
}

Check check_model(const std::filesystem::path& root, const std::string& name) {
  const std::filesystem::path folder = root / "models" / name;
  try {
    const kit::ModelConfig config = kit::load_config(folder);
    const kit::LlamaWeights weights = kit::load_llama_weights(folder, config);
    const kit::Tokenizer tokenizer = kit::Tokenizer::load(folder / "tokenizer.json");
    return {"model " + name, Health::kOk,
            fmt::format("{:.2f} M parameters, {} layers, vocabulary {}",
                        static_cast<double>(weights.size()) * 1e-6, config.n_layers, tokenizer.vocab_size()),
            ""};
  } catch (const std::exception& error) {
    return {"model " + name, Health::kFailure, shorten(error.what(), 2, 300),
            fmt::format("restore models/{}: git checkout -- models", name)};
  }
}

Check check_solutions(const std::filesystem::path& root) {
  if (std::filesystem::is_directory(root / "solutions")) return {"solutions", Health::kOk, "here", ""};
  return {"solutions", Health::kOk, "not here: this is a student's copy", ""};
}

Check check_rubrics(const std::filesystem::path& root) {
  try {
    std::string found;
    for (const Rubric& lab : load_labs(root)) {
      found += fmt::format("{}{} ({} points)", found.empty() ? "" : ", ", lab.id, lab.max_points());
    }
    return {"labs", Health::kOk, found, ""};
  } catch (const std::exception& error) {
    return {"labs", Health::kFailure, error.what(), "restore the lab folders: git status shows what changed"};
  }
}

}  // namespace

bool at_least(const std::string& text, const std::vector<int>& minimum) {
  static const std::regex pattern(R"((\d+)(?:\.(\d+))?(?:\.(\d+))?)");
  std::smatch match;
  if (!std::regex_search(text, match, pattern)) return false;
  std::vector<int> version;
  for (std::size_t i = 1; i < match.size(); ++i)
    version.push_back(match[i].matched ? std::stoi(match[i].str()) : 0);
  return !std::lexicographical_compare(version.begin(), version.end(), minimum.begin(), minimum.end());
}

std::vector<Check> check_machine(const std::filesystem::path& root, const std::filesystem::path& build_dir) {
  const Machine machine = describe_machine(build_dir);
  return {check_compiler(machine.compiler),
          check_tool("cmake", "cmake", {3, 24}),
          check_tool("ninja", "ninja-build", {1, 10}),
          check_cuda(),
          check_gpu(),
          check_cpu(machine),
          check_memory(),
          check_disk(build_dir),
          check_rubrics(root),
          check_solutions(root),
          check_model(root, "target"),
          check_model(root, "draft")};
}

}  // namespace grader
