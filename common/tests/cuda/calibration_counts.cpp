#include <fmt/format.h>

#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../simt/calibration.h"
#include "kit/cuda/device_buffer.h"
#include "kit/simt/profile.h"

/// Runs each calibration kernel once, in this order, one launch each, and prints JSON: {"schema", "launches":
/// [{"name", "report"}]}. "report" is simt::to_json's on the executor; on a GPU there is none, and Nsight
/// Compute, which numbers launches from 0, counts instead.
namespace {

constexpr std::int64_t kN = 1 << 16;  // floats
constexpr std::int64_t kSide = 256;   // kSide * kSide == kN

class Counts {
 public:
  template <class Body>
  void launch(const std::string& name, const Body& body) {
    nlohmann::json entry = {{"name", name}};
    for (const auto& report : kit::simt::profile(body))
      entry["report"] = nlohmann::json::parse(to_json(report));
    launches_.push_back(std::move(entry));
  }
  const nlohmann::json& launches() const { return launches_; }

 private:
  nlohmann::json launches_ = nlohmann::json::array();
};

void run_float_kernels(Counts& counts) {
  const kit::DeviceBuffer<float> in{std::span<const float>(std::vector<float>(kN, 1.0F))};
  kit::DeviceBuffer<float> out(kN);
  for (const int width : {4, 8, 16})
    counts.launch(fmt::format("copy_{}_bytes", width),
                  [&] { calibration::copy(in.view({kN}), out.view({kN}), width); });
  for (const int stride : {1, 2, 4, 8, 16, 32}) {
    const std::int64_t n = kN / stride;
    counts.launch(fmt::format("strided_copy_{}", stride), [&] {
      calibration::strided_copy(in.view({kN}), kit::TensorView<float>(out.data(), {n}), stride);
    });
  }
  using calibration::Transpose;
  const auto transpose = [&](Transpose variant) {
    calibration::transpose(in.view({kSide, kSide}), out.view({kSide, kSide}), variant);
  };
  counts.launch("transpose_naive", [&] { transpose(Transpose::kNaive); });
  counts.launch("transpose_tiled", [&] { transpose(Transpose::kTiled); });
  counts.launch("transpose_padded", [&] { transpose(Transpose::kPadded); });
  kit::DeviceBuffer<float> sums(kN / 256);
  const auto reduce = [&](calibration::Reduction variant) {
    calibration::reduce(in.view({kN}), sums.view({kN / 256}), variant);
  };
  counts.launch("reduce_divergent", [&] { reduce(calibration::Reduction::kDivergent); });
  counts.launch("reduce_sequential", [&] { reduce(calibration::Reduction::kSequential); });
  counts.launch("shared_16_bytes", [&] { calibration::shared_16_bytes(in.view({kN}), out.view({kN})); });
  kit::cuda::synchronize();
}

void run_histograms(Counts& counts) {
  std::vector<int> values(kN);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i * 37 % 256);
  const kit::DeviceBuffer<int> in{std::span<const int>(values)};
  kit::DeviceBuffer<int> bins(256);
  bins.fill_bytes(0);
  const auto histogram = [&](calibration::Histogram variant) {
    calibration::histogram(in.view({kN}), bins.view({256}), variant);
  };
  counts.launch("histogram_global", [&] { histogram(calibration::Histogram::kGlobalAtomics); });
  counts.launch("histogram_shared", [&] { histogram(calibration::Histogram::kSharedAtomics); });
  kit::cuda::synchronize();
}

}  // namespace

int main() {
  try {
    Counts counts;
    run_float_kernels(counts);
    run_histograms(counts);
    const nlohmann::json json = {{"schema", "memory-wall-labs/calibration/1"},
                                 {"launches", counts.launches()}};
    fmt::print("{}\n", json.dump(1));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 3;
  }
}
