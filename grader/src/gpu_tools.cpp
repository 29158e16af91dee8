#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "grader/error.h"
#include "grader/gpu.h"
#include "grader/process.h"
#include "grader/text.h"

namespace grader {

namespace {

namespace fs = std::filesystem;

bool is_program(const fs::path& file) {
  std::error_code error;
  return fs::is_regular_file(file, error);
}

std::vector<fs::path> path_folders(const std::string& path) {
  std::vector<fs::path> folders;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    if (end > at) folders.emplace_back(path.substr(at, end - at));
    at = end + 1;
  }
  return folders;
}

fs::path find_in(const std::vector<fs::path>& folders, const char* name) {
  for (const fs::path& folder : folders) {
    if (is_program(folder / name)) return folder / name;
  }
  return {};
}

/// Nsight Compute may be installed beside the toolkit, one folder a version; the newest.
fs::path find_nsight_compute(const fs::path& root) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& version : fs::directory_iterator(root / "opt/nvidia/nsight-compute", error)) {
    if (is_program(version.path() / "ncu")) found.push_back(version.path() / "ncu");
  }
  return found.empty() ? fs::path() : *std::max_element(found.begin(), found.end());
}

std::string find_gpu(const std::vector<fs::path>& folders, const fs::path& root) {
  constexpr double kPatience = 30;
  const fs::path smi = find_in(folders, "nvidia-smi");
  if (!smi.empty()) {
    Command command;
    command.argv = {smi.string(), "--query-gpu=name,memory.total", "--format=csv,noheader"};
    command.limits.wall_seconds = kPatience;
    const ProcessResult result = run_process(command);
    std::string line = trim(shorten(clean_text(result.output), 1, 200));
    if (result.succeeded() && !line.empty()) return line;
  }
  // A container may have the device and not the tool.
  std::error_code error;
  return fs::exists(root / "dev/nvidia0", error) ? "a GPU (/dev/nvidia0; no nvidia-smi to name it)" : "";
}

}  // namespace

ToolPlaces ToolPlaces::of_this_machine() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  return {variable("PATH"), variable("CUDACXX"), "/"};
}

GpuTools find_gpu_tools(const ToolPlaces& places) {
  std::vector<fs::path> folders = path_folders(places.path);
  const std::vector<fs::path> of_path = folders;
  folders.push_back(places.root / "usr/local/cuda/bin");
  GpuTools tools;
  tools.nvcc = is_program(places.cudacxx) ? fs::path(places.cudacxx) : find_in(folders, "nvcc");
  tools.ncu = find_in(folders, "ncu");
  if (tools.ncu.empty()) tools.ncu = find_nsight_compute(places.root);
  tools.sanitizer = find_in(folders, "compute-sanitizer");
  tools.gpu = find_gpu(of_path, places.root);
  return tools;
}

std::string missing_for_gpu(const GpuTools& tools) {
  std::string missing;
  if (tools.nvcc.empty()) {
    missing +=
        "no nvcc: looked at CUDACXX, in PATH and in /usr/local/cuda/bin; install the CUDA Toolkit (12 or "
        "newer), or "
        "set CUDACXX to its nvcc\n";
  }
  if (tools.gpu.empty()) {
    missing +=
        "no GPU: asked nvidia-smi in PATH and looked for /dev/nvidia0; every task can be done without one "
        "(./kit "
        "grade, ./kit kernel)\n";
  }
  return missing;
}

std::vector<GpuProgram> parse_gpu_programs(std::string_view text) {
  std::vector<GpuProgram> programs;
  for (const std::string& line : split_lines(text)) {
    if (line.empty()) continue;
    const std::size_t first = line.find(' ');
    const std::size_t second = first == std::string::npos ? first : line.find(' ', first + 1);
    if (second == std::string::npos || second + 1 == line.size())
      throw InfrastructureError(fmt::format("gpu_programs.txt: '{}' is not '<kind> <target> <file>'", line));
    programs.push_back(
        {line.substr(0, first), line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return programs;
}

}  // namespace grader
