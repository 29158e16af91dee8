#include "record_build_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "grader/error.h"
#include "grader/files.h"
#include "grader/process.h"
#include "grader/text.h"

namespace grader {

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

/// Every command that `target` needs, in Ninja's order.
std::vector<Words> ninja_commands(const BuildTree& tree, const std::string& target) {
  const std::string ninja = tree.cache_value("CMAKE_MAKE_PROGRAM");
  Command command;
  command.argv = {ninja.empty() ? "ninja" : ninja, "-C", tree.folder().string(), "-t", "commands", target};
  command.limits.output_bytes = std::size_t{64} << 20;
  const ProcessResult result = run_process(command);
  if (!result.succeeded()) {
    throw InfrastructureError(fmt::format("the build folder has no usable target {}: {}", target,
                                          shorten(clean_text(result.output), 3, 500)));
  }
  std::vector<Words> commands;
  for (const std::string& line : split_lines(result.output)) {
    // CMake writes ": && compiler ... && :".
    Words words;
    for (std::string& word : split_command(line)) {
      if (word != "&&") {
        words.push_back(std::move(word));
        continue;
      }
      commands.push_back(std::exchange(words, {}));
    }
    commands.push_back(std::move(words));
  }
  std::erase_if(commands, [](const Words& words) { return words.size() < 2; });
  return commands;
}

/// The word behind `option`, "" when there is none.
std::string value_of(const Words& words, const std::string& option) {
  const auto at = std::find(words.begin(), words.end(), option);
  return at == words.end() || at + 1 == words.end() ? "" : at[1];
}

/// /usr/bin/c++ may lead through /etc, of which a sandbox has nothing. Other links stay: a compiler looks at
/// its own name.
std::string resolve_program(const std::string& program) {
  fs::path path = program;
  for (int i = 0; i < 8 && fs::is_symlink(path); ++i) {
    const fs::path next = (path.parent_path() / fs::read_symlink(path)).lexically_normal();
    const bool is_alternative = is_inside(next, "/etc") || is_inside(path, "/etc");
    if (!is_alternative) break;
    path = next;
  }
  return path.string();
}

/// The command without a launcher (ccache needs a home) and without the options that take `dropped` files.
Words bare_command(const Words& words) {
  constexpr std::array<std::string_view, 3> kLaunchers = {"ccache", "sccache", "distcc"};
  const std::string name = fs::path(words.front()).filename().string();
  const bool has_launcher = std::find(kLaunchers.begin(), kLaunchers.end(), name) != kLaunchers.end();
  Words bare;
  for (std::size_t i = has_launcher ? 1 : 0; i < words.size(); ++i) {
    if (words[i] == "-MD" || words[i] == "-MMD") continue;
    if (words[i] == "-MF" || words[i] == "-MT" || words[i] == "-MQ" || words[i] == "-o") {
      ++i;
    } else {
      bare.push_back(words[i]);
    }
  }
  bare.front() = resolve_program(bare.front());
  return bare;
}

void add_includes(const Words& words, const fs::path& build, std::vector<fs::path>& includes) {
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    std::string folder;
    if (words[i] == "-I" || words[i] == "-isystem" || words[i] == "-iquote" || words[i] == "-idirafter") {
      folder = words[i + 1];
    } else if (words[i].starts_with("-I")) {
      folder = words[i].substr(2);
    }
    if (folder.empty()) continue;
    const fs::path path = (build / folder).lexically_normal();
    if (std::find(includes.begin(), includes.end(), path) == includes.end()) includes.push_back(path);
  }
}

/// The file of `src` that `source` is or, a generated wrapper, includes; empty when it is none of the lab's.
fs::path submitted_file(const fs::path& source, const fs::path& src, const fs::path& build) {
  if (is_inside(source, src)) return source;
  if (!is_inside(source, build) || !source.string().ends_with(".cu.cpp") || !fs::exists(source)) return {};
  const std::string text = read_file(source);
  const std::string start = "#include \"";
  const std::size_t at = text.find(start + (src / "").string());
  if (at == std::string::npos) return {};
  const std::size_t begin = at + start.size();
  return text.substr(begin, text.find('"', begin) - begin);
}

class Planner {
 public:
  Planner(const BuildTree& tree, const Rubric& lab) : tree_(tree), src_(tree.root() / lab.folder / "src") {
    plan_.lab = lab.id;
    plan_.folder = lab.folder;
  }

  WorkerPlan make() {
    const std::string target = plan_.lab + "_worker_student";
    Words link;
    for (const Words& words : ninja_commands(tree_, target)) {
      const std::string output = value_of(words, "-o");
      if (!value_of(words, "-c").empty()) {
        add_compile(words);
      } else if (words.size() > 3 && words[1] == "qc") {
        archives_[words[2]] = Words(words.begin() + 3, words.end());
      } else if (fs::path(output).filename() == target) {
        link = words;
      }
    }
    if (plan_.compiles.empty() || link.empty()) {
      throw InfrastructureError(
          fmt::format("the build folder does not build {} from {}", target, src_.string()));
    }
    add_link(link);
    return std::move(plan_);
  }

 private:
  void add_compile(const Words& words) {
    const fs::path source = in_build(value_of(words, "-c"));
    const fs::path file = submitted_file(source, src_, tree_.folder());
    if (file.empty()) return;
    CompileStep step;
    step.file = "src/" + file.filename().string();
    step.argv = bare_command(words);
    step.source = source;
    step.is_wrapper = file != source;
    step.object = in_build(value_of(words, "-o"));
    objects_.insert(step.object);
    add_includes(step.argv, tree_.folder(), plan_.includes);
    plan_.compiles.push_back(std::move(step));
  }

  void add_link(const Words& words) {
    for (const std::string& word : bare_command(words)) {
      const auto archive = archives_.find(word);
      const bool is_ours = archive != archives_.end() && holds_ours(archive->second);
      // A library of the submission's objects is not built here: the objects take its place.
      if (is_ours) {
        for (const std::string& object : archive->second) add_link_word(object);
      } else {
        add_link_word(word);
      }
    }
  }

  bool holds_ours(const Words& objects) const {
    return std::any_of(objects.begin(), objects.end(),
                       [&](const std::string& object) { return objects_.contains(in_build(object)); });
  }

  void add_link_word(const std::string& word) {
    const bool is_first = plan_.link.empty();
    plan_.link.push_back(word);
    const fs::path path = in_build(word);
    if (is_first || word.starts_with('-') || objects_.contains(path)) return;
    plan_.inputs.push_back(path);
  }

  fs::path in_build(const std::string& path) const { return (tree_.folder() / path).lexically_normal(); }

  const BuildTree& tree_;
  fs::path src_;
  WorkerPlan plan_;
  std::map<std::string, Words> archives_;
  std::set<fs::path> objects_;
};

}  // namespace

std::vector<std::string> split_command(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0 && c == quote) {
      quote = 0;
    } else if (c == '\\' && quote != '\'' && i + 1 < line.size()) {
      word += line[++i];
      in_word = true;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
      in_word = true;
    } else if (quote == 0 && c == ' ') {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

bool is_inside(const std::filesystem::path& path, const std::filesystem::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

WorkerPlan plan_worker(const BuildTree& tree, const Rubric& lab) {
  return Planner(tree, lab).make();
}

}  // namespace grader
