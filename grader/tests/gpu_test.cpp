#include "grader/gpu.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fake_tree.h"
#include "grader/error.h"
#include "grader/files.h"

// Everything of `grader gpu` that needs no GPU: tools and programs are shell scripts.
namespace {

namespace fs = std::filesystem;
using grader_tests::write_script;

class GpuTest : public ::testing::Test {
 protected:
  grader::ToolPlaces places() const { return {(root() / "bin").string(), "", root()}; }
  const fs::path& root() const { return folder_.path(); }

  void add_program(const std::string& kind, const std::string& target, const std::string& script) {
    write_script(root() / target, "#!/bin/sh\n" + script);
    programs_ += kind + " " + target + " " + (root() / target).string() + "\n";
    grader::write_file(root() / "gpu_programs.txt", programs_);
  }
  /// A test program whose report holds `tests`.
  void add_tests(const std::string& target, const std::string& tests) {
    add_program("tests", target,
                R"(for a; do case $a in --gtest_output=json:*) f=${a#*:};; esac; done
[ -z "$f" ] || printf '%s' '{"testsuites":[{"name":"S","testsuite":[)" +
                    tests + R"(]}]}' > "$f")");
  }
  grader::GpuResults run() const {
    grader::Progress silent;
    grader::GpuTools tools = grader::find_gpu_tools(places());
    return grader::run_on_gpu(root(), tools, silent);
  }

 private:
  grader::ScratchFolder folder_{fs::temp_directory_path()};
  std::string programs_;
};

TEST_F(GpuTest, MissingToolsAreNamedWithThePlaces) {
  const std::string missing = grader::missing_for_gpu(grader::find_gpu_tools(places()));
  for (const char* word :
       {"no nvcc", "CUDACXX", "/usr/local/cuda/bin", "no GPU", "nvidia-smi", "/dev/nvidia0"})
    EXPECT_NE(missing.find(word), std::string::npos) << word << " in " << missing;
}

TEST_F(GpuTest, FindsToolsInPathAndInTheUsualFolders) {
  write_script(root() / "usr/local/cuda/bin/nvcc", "#!/bin/sh\necho 'release 13.0, V13.0.88'\n");
  write_script(root() / "opt/nvidia/nsight-compute/2024.1.1/ncu", "#!/bin/sh\n");
  write_script(root() / "opt/nvidia/nsight-compute/2025.3.0/ncu", "#!/bin/sh\n");
  write_script(root() / "bin/compute-sanitizer", "#!/bin/sh\n");
  write_script(root() / "bin/nvidia-smi", "#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\n");
  grader::GpuTools tools = grader::find_gpu_tools(places());
  EXPECT_EQ(tools.nvcc, root() / "usr/local/cuda/bin/nvcc");
  EXPECT_EQ(tools.ncu, root() / "opt/nvidia/nsight-compute/2025.3.0/ncu");
  EXPECT_EQ(tools.sanitizer, root() / "bin/compute-sanitizer");
  EXPECT_EQ(tools.gpu, "NVIDIA H200, 143771 MiB");
  EXPECT_EQ(grader::missing_for_gpu(tools), "");

  write_script(root() / "bin/nvidia-smi",
               "#!/bin/sh\necho 'couldn''t communicate with the NVIDIA driver'\nexit 9\n");
  EXPECT_EQ(grader::find_gpu_tools(places()).gpu, "");
}

TEST_F(GpuTest, ProgramListIsChecked) {
  const auto programs = grader::parse_gpu_programs("tests kit_gpu_tests /a b/kit_gpu_tests\n");
  ASSERT_EQ(programs.size(), 1U);
  EXPECT_EQ(programs[0].file, "/a b/kit_gpu_tests");
  EXPECT_THROW(grader::parse_gpu_programs("tests only_a_target\n"), grader::InfrastructureError);
}

TEST_F(GpuTest, CountsTestsByWhatBecameOfThem) {
  add_tests("kit_gpu_tests",
            R"({"name":"A","result":"COMPLETED","time":"0.5s"},{"name":"B","result":"SKIPPED"})");
  add_tests("lab01_gpu_tests_student",
            R"({"name":"C","result":"COMPLETED","failures":[{"failure":"NotImplemented: lab01 task 7"}]},)"
            R"({"name":"D","result":"COMPLETED","failures":[{"failure":"expected 1, got 2"}]})");
  const grader::GpuResults results = run();
  ASSERT_EQ(results.suites.size(), 2U);
  EXPECT_EQ(results.suites[0].n_passed, 1);
  EXPECT_EQ(results.suites[0].n_skipped, 1);
  EXPECT_EQ(results.suites[0].seconds, 0.5);
  EXPECT_EQ(results.suites[1].n_not_implemented, 1);
  EXPECT_EQ(results.suites[1].failures, std::vector<std::string>{"S.D: expected 1, got 2"});
  EXPECT_TRUE(results.all_well()) << "a student's failures are no fault of the kit";
  EXPECT_NE(results.counters_missing.find("no ncu"), std::string::npos);
  EXPECT_NE(results.sanitizer_missing.find("no compute-sanitizer"), std::string::npos);
}

TEST_F(GpuTest, AProgramThatCrashesOrIsNotThereIsSaid) {
  add_program("tests", "kit_gpu_tests", "echo 'out of memory'; kill -SEGV $$");
  add_program("bench", "kit_gpu_bench", "exit 5");
  add_program("tests", "lab01_gpu_tests_solution", "");
  fs::remove(root() / "lab01_gpu_tests_solution");
  const grader::GpuResults results = run();
  EXPECT_NE(results.suites[0].error.find("SIGSEGV"), std::string::npos) << results.suites[0].error;
  EXPECT_NE(results.suites[0].error.find("out of memory"), std::string::npos) << results.suites[0].error;
  EXPECT_EQ(results.suites[1].error, "it did not build");
  EXPECT_EQ(results.bench_errors, std::vector<std::string>{"kit_gpu_bench: exit status 5"});
  EXPECT_FALSE(results.all_well());
}

TEST_F(GpuTest, BenchmarksCountersAndSanitizerReachTableAndJson) {
  add_tests("kit_gpu_tests", R"({"name":"A","result":"COMPLETED"})");
  add_program("bench", "kit_gpu_bench", R"(for a; do case $a in --benchmark_out=*) f=${a#*=};; esac; done
printf '{"benchmarks":[{"name":"copy/16/iterations:1/manual_time","run_type":"iteration","gb_per_s":1500.0,"share_of_ceiling":0.93,"bar":0.85}]}' > "$f")");
  add_program("calibration", "kit_gpu_calibration_counts", "");
  add_program("counts", "kit_calibration_counts",
              R"(echo '{"launches":[{"name":"copy_4","report":{"kernel":"copy_kernel<float>",)"
              R"("totals":{"global_load":{"requests":2048}}}}]}')");
  write_script(root() / "bin/ncu", R"sh(#!/bin/sh
echo '==PROF== Connected'
echo '"ID","Kernel Name","l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum"'
echo '"","",""'
echo '"0","void copy_kernel<float>(const T1 *)","2,047"'
)sh");
  write_script(root() / "bin/compute-sanitizer",
               "#!/bin/sh\ncase $2 in memcheck) echo '========= ERROR SUMMARY: 0 errors';; "
               "*) echo '========= RACECHECK SUMMARY: 3 hazards displayed (3 errors, 0 warnings)';; esac\n");
  const grader::GpuResults results = run();
  EXPECT_EQ(results.counters_missing, "");
  EXPECT_FALSE(results.all_well());
  const std::string table = grader::gpu_table(results);
  for (const char* words : {"93.0 %", "1500.0 GB/s  reached (the bar is 85 %)", "2,047", "DIFFERS",
                            "0 errors", "3 errors", "1 passed"})
    EXPECT_NE(table.find(words), std::string::npos) << words << " in\n" << table;
  const nlohmann::ordered_json json = to_json(results);
  EXPECT_EQ(json["schema"], "memory-wall-labs/gpu/1");
  EXPECT_EQ(json["all_well"], false);
  EXPECT_EQ(json["bench"][0]["counters"]["share_of_ceiling"], 0.93);
  EXPECT_EQ(json["counters"][0]["gpu"], 2047);
  EXPECT_EQ(json["sanitizer"][1]["errors"], 3);
}

TEST_F(GpuTest, ToolsThatFailAreReportedNotFatal) {
  add_program("calibration", "kit_gpu_calibration_counts", "");
  add_program("counts", "kit_calibration_counts", "echo '{\"launches\":[]}'");
  write_script(root() / "bin/ncu", "#!/bin/sh\necho '==ERROR== ERR_NVGPUCTRPERM'\nexit 1\n");
  const grader::GpuResults results = run();
  EXPECT_NE(results.counters_missing.find("ERR_NVGPUCTRPERM"), std::string::npos) << results.counters_missing;
  EXPECT_TRUE(results.counters.empty());
}

TEST(Sanitizer, SummaryIsRead) {
  EXPECT_EQ(grader::parse_sanitizer_summary("=========\n========= ERROR SUMMARY: 12 errors\n"), 12);
  EXPECT_EQ(grader::parse_sanitizer_summary(
                "========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)"),
            1);
  EXPECT_EQ(grader::parse_sanitizer_summary("Segmentation fault"), -1);
}

}  // namespace
