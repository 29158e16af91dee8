#include "grader/gtest_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "grader/text.h"
#include "kit/check.h"

namespace grader {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxMessageLines = 60;
constexpr std::size_t kMaxMessageBytes = 8192;

/// The record of test `name`, nothing when the report does not have it.
std::optional<Json> find_record(const Json& report, const std::string& name) {
  for (const Json& suite : report.value("testsuites", Json::array())) {
    for (const Json& test : suite.value("testsuite", Json::array())) {
      if (suite.value("name", "") + "." + test.value("name", "") == name) return test;
    }
  }
  return std::nullopt;
}

/// GoogleTest puts what RecordProperty was given beside its own attributes.
std::map<std::string, std::string> recorded_properties(const Json& record) {
  static const std::set<std::string> own = {"name",      "file",        "line",      "status",
                                            "result",    "value_param", "timestamp", "time",
                                            "classname", "type_param",  "failures"};
  std::map<std::string, std::string> properties;
  for (const auto& [key, value] : record.items()) {
    if (!own.contains(key) && value.is_string()) properties[key] = value.get<std::string>();
  }
  return properties;
}

/// Removes what GoogleTest writes around an AssertionResult (the expression, "Actual: false (...)",
/// "Expected: true"): a student reads what differs, not how the test is written.
std::string plain_words(std::string text) {
  constexpr std::string_view kExpression = "\nValue of: ";
  constexpr std::string_view kOpen = "\n  Actual: false (";
  constexpr std::string_view kClose = ")\nExpected: true";
  for (std::size_t at = 0; (at = text.find(kExpression, at)) != std::string::npos;) {
    const std::size_t open = text.find('\n', at + 1);
    const std::size_t close = text.find(kClose, at);
    if (open == std::string::npos || close == std::string::npos) break;
    if (text.compare(open, kOpen.size(), kOpen) != 0) {  // another kind of assertion: its values matter
      at = open;
      continue;
    }
    text.erase(close, kClose.size());
    text.replace(at, open + kOpen.size() - at, "\n");
  }
  return text;
}

/// What a stub says after "NotImplemented: ", on one line and without the words GoogleTest puts around it.
std::optional<std::string> not_implemented(const std::string& failures) {
  const std::size_t at = failures.find(kit::NotImplemented::kPrefix);
  if (at == std::string::npos) return std::nullopt;
  std::string rest = failures.substr(at + kit::NotImplemented::kPrefix.size());
  rest = rest.substr(0, rest.find('\n'));
  return trim(rest.substr(0, rest.find('"')));
}

/// What the test printed under "[ RUN ]": the reason of a skip is only there.
std::string printed_by_test(const std::string& output, const std::string& name) {
  const std::string begin = "[ RUN      ] " + name + "\n";
  const std::size_t at = output.find(begin);
  if (at == std::string::npos) return trim(output);
  const std::string rest = output.substr(at + begin.size());
  return trim(rest.substr(0, rest.find("[  ")));
}

void classify_record(const Json& record, const ProcessResult& process, const Limits& limits,
                     TestResult& test) {
  test.properties = recorded_properties(record);
  const std::string result = record.value("result", "");
  std::string failures;
  for (const Json& failure : record.value("failures", Json::array())) {
    failures += (failures.empty() ? "" : "\n") + failure.value("failure", "");
  }
  if (result == "SKIPPED") {
    test.verdict = Verdict::kInconclusive;
    test.message = printed_by_test(process.output, test.name);
  } else if (result != "COMPLETED") {
    test.verdict = Verdict::kFailed;
    test.message = fmt::format("GoogleTest did not run it (result '{}')", result);
  } else if (const std::optional<std::string> what = not_implemented(failures)) {
    test.verdict = Verdict::kNotImplemented;
    test.message = *what;
  } else if (limits.address_space_bytes > 0 && failures.find("std::bad_alloc") != std::string::npos) {
    test.verdict = Verdict::kCrashed;
    test.message = fmt::format("ran out of its memory limit of {} (std::bad_alloc)",
                               format_bytes(static_cast<double>(limits.address_space_bytes)));
  } else if (!failures.empty()) {
    test.verdict = Verdict::kFailed;
    test.message = plain_words(failures);
  } else {
    test.verdict = Verdict::kPassed;
  }
}

}  // namespace

void classify_end(const ProcessResult& process, const Limits& limits, TestResult& test) {
  using End = ProcessResult::End;
  const std::string printed = printed_by_test(clean_text(process.output), test.name);
  const std::string last_words = printed.empty() ? "" : "\n" + printed;
  if (process.end == End::kCpuLimit) {
    test.verdict = Verdict::kTimedOut;
    test.message =
        fmt::format("used up its limit of {} s of CPU time (an endless loop?)", limits.cpu_seconds);
  } else if (process.end == End::kWallLimit) {
    test.verdict = Verdict::kTimedOut;
    test.message =
        fmt::format("did not end within its limit of {:g} s (waiting for something?)", limits.wall_seconds);
  } else if (process.end == End::kSignaled) {
    test.verdict = Verdict::kCrashed;
    const std::optional<std::string> stub = not_implemented(printed);
    // A stub that is called where nothing can catch, in a thread for instance, ends the process.
    if (stub) test.verdict = Verdict::kNotImplemented;
    test.message = stub ? *stub : "stopped by " + describe_signal(process.signal) + last_words;
  } else {
    test.verdict = Verdict::kCrashed;
    test.message = fmt::format("the program ended itself, with exit status {}, before the test was over{}",
                               process.exit_code, last_words);
  }
}

TestResult classify_test(const std::string& name, const ProcessResult& process, const std::string& json,
                         const Limits& limits) {
  TestResult test;
  test.name = name;
  test.seconds = process.wall_seconds;
  const Json report = Json::parse(clean_text(json), nullptr, false);
  const std::optional<Json> record = report.is_object() ? find_record(report, name) : std::nullopt;
  // A report that is there and complete counts only when the process also ended as GoogleTest ends: 0 for
  // success, 1 for failures. A crash in a destructor after the last test is still a crash.
  const bool ended_well = process.end == ProcessResult::End::kExited && process.exit_code <= 1;
  if (!report.is_object() || !ended_well) {
    classify_end(process, limits, test);
  } else if (!record) {
    test.verdict = Verdict::kFailed;
    test.message = "listed in the rubric, but the test binary does not have it";
  } else {
    classify_record(*record, process, limits, test);
  }
  if (test.verdict == Verdict::kPassed && process.exit_code != 0) {
    test.verdict = Verdict::kCrashed;
    test.message = fmt::format("passed, then the program ended with exit status {}", process.exit_code);
  }
  test.message = shorten(clean_text(test.message), kMaxMessageLines, kMaxMessageBytes);
  return test;
}

bool is_complete_report(const std::string& json) {
  return Json::accept(clean_text(json));
}

}  // namespace grader
