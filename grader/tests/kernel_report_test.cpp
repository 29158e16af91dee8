#include "grader/kernel_report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "grader/error.h"

namespace {

using grader::KernelLaunches;

// What the executor writes for a launch with one global load and one shared store, cut to what is read.
nlohmann::json sample_launch(const std::string& file) {
  return {{"kernel", "lab01::(anonymous namespace)::copy_kernel<float4>"},
          {"grid", {2, 1, 1}},
          {"thread_block", {32, 8, 1}},
          {"static_shared_bytes", 4096},
          {"dynamic_shared_bytes", 0},
          {"barriers", 2},
          {"warp_syncs", 0},
          {"shuffles", 5},
          {"global_bytes", 4096},
          {"lines",
           {{{"file", file},
             {"line", 2},
             {"width", 4},
             {"space", "global"},
             {"access", "load"},
             {"requests", 16},
             {"thread_accesses", 512},
             {"useful_bytes", 2048},
             {"memory_l2_theoretical_sectors_global", 128},
             {"memory_l2_theoretical_sectors_global_ideal", 64}},
            {{"file", file},
             {"line", 2},
             {"width", 4},
             {"space", "shared"},
             {"access", "store"},
             {"requests", 16},
             {"thread_accesses", 256},
             {"memory_l1_wavefronts_shared", 512},
             {"memory_l1_wavefronts_shared_ideal", 16}}}}};
}

std::string sample_report(const std::string& file, int n_launches) {
  nlohmann::json json = {{"test", "CopyCuda.Works"}, {"launches", nlohmann::json::array()}};
  for (int i = 0; i < n_launches; ++i) json["launches"].push_back(sample_launch(file));
  return json.dump() + "\n";
}

TEST(KernelReport, AddsUpLaunchesOfOneShape) {
  const auto kernels =
      grader::parse_kernel_report(sample_report("a.cu", 3) + "\n" + sample_report("a.cu", 1));
  ASSERT_EQ(kernels.size(), 1U);
  EXPECT_EQ(kernels[0].n_launches, 4);
  ASSERT_EQ(kernels[0].totals.size(), 2U);
  EXPECT_EQ(kernels[0].totals[0].units, 4 * 128);
  EXPECT_EQ(kernels[0].totals[1].units, 4 * 512);
  EXPECT_EQ(kernels[0].barriers, 8);
}

TEST(KernelReport, TableHasRatiosAndTheFloor) {
  kit::Device device;
  device.name = "toy";
  device.bandwidth_bytes_per_s = 1e9;
  const std::string table =
      grader::kernel_table(grader::parse_kernel_report(sample_report("a.cu", 1)), device);
  EXPECT_NE(table.find("copy_kernel<float4> <<<2, (32, 8)>>>"), std::string::npos) << table;
  EXPECT_NE(table.find("8.00       50 %      32.0"), std::string::npos)
      << table;  // 128 / 16; 2048 of 4096 bytes
  EXPECT_NE(table.find("32.00     32.0 x      16.0"), std::string::npos)
      << table;  // 512 / 16; 256 / 16 lanes
  EXPECT_NE(table.find("4,096 bytes to and from memory take 4.1 us on toy at 1 GB/s"), std::string::npos)
      << table;
}

TEST(KernelReport, AnnotatesTheLine) {
  const auto file = std::filesystem::temp_directory_path() / "kernel_report_test.cu";
  std::ofstream(file) << "first\nsecond\nthird\n";
  const std::string text =
      grader::annotate_source(grader::parse_kernel_report(sample_report(file.string(), 1)));
  std::filesystem::remove(file);
  EXPECT_NE(text.find("global load: 8.00 sectors, ideal 4.00; shared store: 32.00 wavefronts, ideal 1.00\n"
                      "    2 > second\n    3   third"),
            std::string::npos)
      << text;
}

TEST(KernelReport, NamesAFileThatIsGone) {
  const std::string text =
      grader::annotate_source(grader::parse_kernel_report(sample_report("/no/such.cu", 1)));
  EXPECT_NE(text.find("/no/such.cu\n  (the file cannot be read)"), std::string::npos) << text;
}

TEST(KernelReport, JsonReadsBack) {
  const auto json =
      nlohmann::json::parse(grader::kernel_json(grader::parse_kernel_report(sample_report("a.cu", 2))));
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["kernels"][0]["launches"], 2);
  EXPECT_EQ(json["kernels"][0]["totals"][0]["memory_l2_theoretical_sectors_global"], 256);
}

TEST(KernelReport, RefusesBrokenText) {
  EXPECT_THROW(grader::parse_kernel_report("{\"test\":"), grader::InfrastructureError);
  EXPECT_THROW(grader::parse_kernel_report("{\"launches\": [{}], \"test\": \"a\"}"),
               grader::InfrastructureError);
  EXPECT_TRUE(grader::parse_kernel_report("\n").empty());
}

}  // namespace
