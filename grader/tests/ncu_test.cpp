#include "grader/ncu.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "grader/error.h"

// Made by hand in the format that Nsight Compute documents for --csv --page raw; no GPU has printed it.
namespace {

constexpr const char* kHeader =
    R"("ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device",)"
    R"("CC","l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum","l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum",)"
    R"("memory_l1_wavefronts_shared")"
    "\n"
    R"("","","","","","","","","","","","","sector","")"
    "\n";

std::string row(int id, const std::string& kernel, const std::string& values) {
  return "\"" + std::to_string(id) + R"(","77","kit_gpu_calibration_counts","127.0.0.1",")" + kernel +
         R"csv(","1","7","(256, 1, 1)","(256, 1, 1)","0","8.0",)csv" + values + "\n";
}

std::string sample() {
  return std::string(
             "==PROF== Connected to process 77 (/x/kit_gpu_calibration_counts)\n"
             "==PROF== Profiling \"copy_kernel\" - 0: 0%....50%....100% - 1 pass\n"
             "{\"launches\": []}\n"
             "==PROF== Disconnected from process 77\n") +
         kHeader +
         row(0, "void calibration::<unnamed>::copy_kernel<float>(const T1 *, T1 *, int)",
             R"("2,048","8,192","0")") +
         row(1, "void transpose_tiled_kernel<(int)0>(float const*, float*, int)",
             R"csv("2,048","8,192","67584 (1024; 66560)")csv");
}

std::string executor_counts(const std::string& second_kernel = "transpose_tiled_kernel<0>") {
  const nlohmann::json load = {{"requests", 2048}, {"memory_l2_theoretical_sectors_global", 8192}};
  const nlohmann::json shared_load = {{"memory_l1_wavefronts_shared", 65536}};
  const nlohmann::json shared_store = {{"memory_l1_wavefronts_shared", 2048}};
  return nlohmann::json{
      {"launches",
       {{{"name", "copy_4_bytes"},
         {"report",
          {{"kernel", "calibration::(anonymous namespace)::copy_kernel<float>"},
           {"totals", {{"global_load", load}}}}}},
        {{"name", "transpose_tiled"},
         {"report",
          {{"kernel", second_kernel},
           {"totals",
            {{"global_load", load}, {"shared_load", shared_load}, {"shared_store", shared_store}}}}}}}}}
      .dump();
}

TEST(Ncu, ReadsNamesAndNumbers) {
  const auto launches = grader::parse_ncu_csv(sample());
  ASSERT_EQ(launches.size(), 2U);
  EXPECT_EQ(launches[0].kernel, "copy_kernel");
  EXPECT_EQ(launches[1].kernel, "transpose_tiled_kernel");
  EXPECT_EQ(launches[0].metrics.at("l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum"), 8192);
  EXPECT_EQ(launches[1].metrics.at("memory_l1_wavefronts_shared"), 67584)
      << "the values by instruction follow";
  EXPECT_FALSE(launches[0].metrics.contains("Block Size"));
}

TEST(Ncu, AValueThatIsNoNumberIsLeftOut) {
  const auto launches =
      grader::parse_ncu_csv(std::string(kHeader) + row(0, "copy_kernel", R"("2048","n/a","")"));
  EXPECT_FALSE(launches.at(0).metrics.contains("l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum"));
  EXPECT_TRUE(launches.at(0).metrics.contains("l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum"));
}

TEST(Ncu, NoTableIsAnErrorWithWhatWasSaid) {
  try {
    grader::parse_ncu_csv("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission\n");
    FAIL() << "no error";
  } catch (const grader::InfrastructureError& error) {
    EXPECT_NE(std::string(error.what()).find("ERR_NVGPUCTRPERM"), std::string::npos) << error.what();
  }
}

TEST(Ncu, HalfARowIsAnError) {
  EXPECT_THROW(grader::parse_ncu_csv(std::string(kHeader) + "\"0\",\"77\",\"kit\"\n"),
               grader::InfrastructureError);
}

TEST(Ncu, ComparesLaunchByLaunch) {
  const auto pairs = grader::compare_counters(executor_counts(), grader::parse_ncu_csv(sample()));
  ASSERT_EQ(pairs.size(), 2 * grader::ncu_metrics().size());
  for (const auto& pair : pairs) {
    if (pair.metric == "memory_l1_wavefronts_shared" && pair.launch == "transpose_tiled") {
      EXPECT_EQ(pair.executor, 67584) << "loads and stores";
      EXPECT_TRUE(pair.agrees());
    }
    if (pair.metric == "memory_l2_theoretical_sectors_global") {
      EXPECT_FALSE(pair.gpu.has_value());
    }
  }
}

TEST(Ncu, OtherLaunchesAreNotCompared) {
  auto launches = grader::parse_ncu_csv(sample());
  EXPECT_THROW(grader::compare_counters(executor_counts("reduce_kernel"), launches),
               grader::InfrastructureError);
  EXPECT_THROW(grader::compare_counters("not JSON", launches), grader::InfrastructureError);
  launches.pop_back();
  EXPECT_THROW(grader::compare_counters(executor_counts(), launches), grader::InfrastructureError);
}

TEST(Ncu, TableNamesWhatDiffers) {
  auto launches = grader::parse_ncu_csv(sample());
  launches[0].metrics["l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum"] = 9000;
  const std::string table = grader::counters_table(grader::compare_counters(executor_counts(), launches));
  EXPECT_NE(table.find("DIFFERS"), std::string::npos) << table;
  EXPECT_NE(table.find("9,000"), std::string::npos) << table;
  EXPECT_NE(table.find("not reported"), std::string::npos) << table;
  EXPECT_NE(table.find("4 of 5 counters equal"), std::string::npos) << table;
}

}  // namespace
