#include "grader/table.h"

#include <gtest/gtest.h>

#include "sample_results.h"

namespace {

TEST(Table, IsPlainTextWithoutColor) {
  const std::string table = grader::results_table(grader_tests::sample_results(), false);
  EXPECT_EQ(table.find('\x1b'), std::string::npos);
  EXPECT_EQ(table, R"(
lab02  KV cache
   1  Attention                                          passed                   15 / 15
   2  The <cache> & more                                 failed                    0 / 20
   M  O(N)                                               passed                   10 / 10
      measured 31 tokens, the bar is 31

      total (student, seed 7)                                                     25 / 45

lab02 task 2: failed
    KvCache.Fails
    got <b>"1" & 2</b>
    ]]> second line
    open first: src/b.cpp   (read docs/02.md)
)");
}

TEST(Table, ColorsOnlyAddEscapes) {
  std::string colored = grader::results_table(grader_tests::sample_results(), true);
  EXPECT_NE(colored.find("\x1b["), std::string::npos);
  std::string plain;
  for (std::size_t i = 0; i < colored.size(); ++i) {
    if (colored[i] == '\x1b') {
      i = colored.find('m', i);
    } else {
      plain += colored[i];
    }
  }
  EXPECT_EQ(plain, grader::results_table(grader_tests::sample_results(), false));
}

TEST(Table, SaysWhenPointsAreUndecided) {
  grader::Results results = grader_tests::sample_results();
  results.tasks[0].tests[0].verdict = grader::Verdict::kInfrastructureError;
  settle(results.tasks[0]);
  const std::string table = grader::results_table(results, false);
  EXPECT_NE(table.find("15 of the missing points are undecided, not lost"), std::string::npos) << table;
  EXPECT_NE(table.find("infrastructure_error      ? / 15"), std::string::npos) << table;
}

TEST(Table, CompilerIsQuotedOncePerLab) {
  grader::Results results = grader_tests::sample_results();
  results.labs[0].build_error = "does not compile:\na.cpp:3:5: error: x";
  const std::string table = grader::results_table(results, false);
  EXPECT_NE(table.find("a.cpp:3:5: error: x"), std::string::npos) << table;
  EXPECT_EQ(table.find("open first"), std::string::npos) << table;
}

TEST(Table, RecordSaysWhatWasGraded) {
  const std::string table = grader::results_table(grader_tests::sample_record(), false);
  EXPECT_TRUE(table.starts_with(R"(
submission  alice & bob <2>.zip
      sandbox: none (unsafe)
      lab01: 2 files taken
      lab02: 1 file taken, stubs for b.cpp, c.cpp
      2 files not taken:
        lab02/CMakeLists.txt: not one of the lab's src/ files
        ../../etc/passwd: a path with '..'

lab01  Memory bandwidth
)")) << table;
  EXPECT_NE(table.find("total (record, seed 7)"), std::string::npos) << table;
  EXPECT_NE(table.find("UNSAFE: graded without a sandbox"), std::string::npos) << table;
  EXPECT_EQ(grader::results_table(grader_tests::sample_undecided_record(), false).find("UNSAFE"),
            std::string::npos);
}

TEST(Table, BenchmarksStandSideBySide) {
  grader::BenchResult bench{"lab02", "decode/128", {2, 0.25, {{"tokens_per_s", 90}}, ""}, {2, 0.5, {}, ""}};
  const std::string table = grader::bench_table({bench}, false);
  EXPECT_NE(table.find("student   25 %  tokens_per_s 90"), std::string::npos) << table;
  EXPECT_NE(table.find("solution  50 %"), std::string::npos) << table;
  EXPECT_EQ(grader::bench_table({}, false), "");
}

}  // namespace
