#include "record_build_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "grader/error.h"
#include "grader/files.h"
#include "grader/text.h"

namespace grader {

namespace {

namespace fs = std::filesystem;

void require(const std::error_code& error, const fs::path& path) {
  if (error) throw InfrastructureError(fmt::format("cannot copy {}: {}", path.string(), error.message()));
}

void copy_folder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to);
  fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::skip_symlinks, error);
  require(error, from);
}

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '-';
}

void erase_all(std::string& text, const std::string& part) {
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) {
    text.erase(at, part.size());
  }
}

}  // namespace

std::string rewrite_paths(const std::string& text, const std::vector<Mount>& mounts) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const Mount* best = nullptr;
    for (const Mount& mount : mounts) {
      const std::string inside = mount.inside.string();
      const std::size_t end = at + inside.size();
      // "-I/tree" begins with a path, "/other/tree" does not.
      const bool begins = at == 0 || (at == 2 && text[0] == '-') || !is_name(text[at - 1]);
      const bool matches = begins && text.compare(at, inside.size(), inside) == 0 &&
                           (end == text.size() || text[end] == '/' || text[end] == '=' || text[end] == '"');
      if (matches && (best == nullptr || inside.size() > best->inside.string().size())) best = &mount;
    }
    if (best == nullptr) {
      result += text[at++];
    } else {
      result += best->host.string();
      at += best->inside.string().size();
    }
  }
  return result;
}

CompileView::CompileView(const BuildTree& tree, const std::vector<WorkerPlan>& plans, const fs::path& staging,
                         const fs::path& scratch, const Sandbox& sandbox)
    : tree_(tree), sandbox_(sandbox), folder_(scratch / "view"), outputs_(scratch / "out") {
  // The build folder is most often in the tree: then one mount shows both.
  fs::create_directories(copy_of(tree.root()));
  fs::create_directories(copy_of(tree.folder()));
  fs::create_directories(outputs_);
  mounts_.push_back({copy_of(tree.root()), tree.root(), false});
  if (!is_inside(tree.folder(), tree.root()))
    mounts_.push_back({copy_of(tree.folder()), tree.folder(), false});
  for (const WorkerPlan& plan : plans) {
    add_mount(fs::path(plan.link.front()).parent_path().parent_path());
    for (const CompileStep& step : plan.compiles) {
      add_mount(fs::path(step.argv.front()).parent_path().parent_path());
    }
    for (const fs::path& include : plan.includes) copy_include(include);
    for (const fs::path& input : plan.inputs) copy_file(input);
    copy_sources(plan, staging);
  }
  sandbox_.grant(scratch, false);
}

bool CompileView::is_ours(const fs::path& path) const {
  return is_inside(path, tree_.root()) || is_inside(path, tree_.folder());
}

fs::path CompileView::copy_of(const fs::path& path) const {
  return folder_ / path.relative_path();
}

/// Something outside the tree that the system's part of a sandbox does not have: a compiler in /opt.
void CompileView::add_mount(const fs::path& path) {
  for (const char* system : {"/usr", "/lib", "/lib32", "/lib64", "/libx32"}) {
    if (is_inside(path, system)) return;
  }
  if (path == "/") return;  // of /bin/c++
  const char* home = std::getenv("HOME");
  const bool shows_too_much = is_inside(tree_.root(), path) || is_inside(tree_.folder(), path) ||
                              (home != nullptr && is_inside(home, path));
  if (shows_too_much) {
    throw InfrastructureError(fmt::format(
        "the compiler needs {}, which holds the tree or your home; use one in /usr", path.string()));
  }
  const bool known =
      std::any_of(mounts_.begin(), mounts_.end(), [&](const Mount& mount) { return mount.inside == path; });
  if (!known) mounts_.push_back({path, path, false});
}

void CompileView::copy_include(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  if (!is_ours(folder)) return add_mount(folder);
  const bool shows_too_much = is_inside(tree_.root(), folder) || is_inside(tree_.folder(), folder) ||
                              folder.parent_path() == tree_.root() ||
                              is_inside(folder, tree_.root() / "solutions");
  if (shows_too_much) {
    throw InfrastructureError(
        fmt::format("a compile command names {} as an include folder; a submission could "
                    "read all that is in it",
                    folder.string()));
  }
  if (fs::exists(copy_of(folder))) return;
  copy_folder(folder, copy_of(folder));
}

void CompileView::copy_file(const fs::path& file) {
  if (!is_ours(file)) return add_mount(file);
  const fs::path copy = copy_of(file);
  if (fs::exists(copy)) return;
  std::error_code error;
  fs::create_directories(copy.parent_path());
  fs::copy_file(file, copy, error);
  require(error, file);
}

void CompileView::copy_sources(const WorkerPlan& plan, const fs::path& staging) {
  const fs::path src = tree_.root() / plan.folder / "src";
  copy_folder(staging / plan.folder / "src", copy_of(src));
  stubs_.push_back({folder_ / "stubs" / plan.folder, src, false});
  copy_folder(src, stubs_.back().host);
  for (const CompileStep& step : plan.compiles) {
    fs::create_directories(copy_of(step.object.parent_path()));
    if (!step.is_wrapper) continue;
    const std::string text = read_file(step.source);
    write_file(copy_of(step.source), is_locked_in() ? text : rewrite_paths(text, mounts_));
  }
}

fs::path CompileView::make_out(const std::string& name) const {
  fs::path out = outputs_ / name;
  fs::create_directories(out);
  sandbox_.grant(out, true);
  return out;
}

SandboxResult CompileView::run(const std::vector<std::string>& argv, const fs::path& out,
                               const SandboxLimits& limits) const {
  return run_with(argv, mounts_, out, limits);
}

SandboxResult CompileView::run_on_stubs(const std::vector<std::string>& argv, const fs::path& out,
                                        const SandboxLimits& limits) const {
  std::vector<Mount> mounts = mounts_;
  mounts.insert(mounts.end(), stubs_.begin(), stubs_.end());
  return run_with(argv, std::move(mounts), out, limits);
}

SandboxResult CompileView::run_with(const std::vector<std::string>& argv, std::vector<Mount> mounts,
                                    const fs::path& out, const SandboxLimits& limits) const {
  mounts.push_back({out, kOutInside, true});
  SandboxCommand command;
  command.argv = argv;
  command.folder = tree_.folder().string();
  command.limits = limits;
  if (!is_locked_in()) {
    for (std::string& word : command.argv) word = rewrite_paths(word, mounts);
    command.folder = rewrite_paths(command.folder, mounts);
  } else {
    command.mounts = std::move(mounts);
  }
  return sandbox_.run(command);
}

bool CompileView::keep(const fs::path& made, const fs::path& path) const {
  // What is there was written by a program that may have been taken over: no link is followed.
  if (fs::symlink_status(made).type() != fs::file_type::regular) return false;
  const fs::path place = is_ours(path) ? copy_of(path) : path;
  fs::rename(made, place);
  sandbox_.grant(place, false);
  return true;
}

std::string CompileView::words_of(const SandboxResult& result) const {
  std::string words = clean_text(result.output);
  erase_all(words, folder_.string());
  erase_all(words, outputs_.string());
  erase_all(words, (tree_.folder() / "").string());
  erase_all(words, (tree_.root() / "").string());
  erase_all(words, std::string(kOutInside) + "/");
  return words;
}

}  // namespace grader
