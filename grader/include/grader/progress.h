#pragma once

#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>

#include "grader/verdict.h"

namespace grader {

/// Told what a run is doing. Calls may come from several threads, one at a time.
class Progress {
 public:
  virtual ~Progress() = default;
  /// Something starts: "building lab02_tests_student".
  virtual void stage(std::string_view /*what*/) {}
  /// The build finished `done` of `total` steps.
  virtual void built(int /*done*/, int /*total*/) {}
  /// Test number `done` of `total` finished.
  virtual void tested(int /*done*/, int /*total*/, std::string_view /*name*/, Verdict /*verdict*/) {}
};

/// One line that rewrites itself on a terminal; plain lines elsewhere (a log of a thousand steps helps
/// nobody, so every build step is told only on a terminal).
class TerminalProgress : public Progress {
 public:
  explicit TerminalProgress(std::FILE* stream);
  ~TerminalProgress() override;
  TerminalProgress(const TerminalProgress&) = delete;
  TerminalProgress& operator=(const TerminalProgress&) = delete;

  void stage(std::string_view what) override;
  void built(int done, int total) override;
  void tested(int done, int total, std::string_view name, Verdict verdict) override;
  /// Removes the line, so that what is printed next starts clean.
  void clear();

 private:
  void show(std::string line);

  std::FILE* stream_;
  bool is_terminal_;
  std::string stage_;
};

}  // namespace grader
