#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kit/kv_cache.h"
#include "kit/llama.h"
#include "kit/model_quality.h"
#include "lab04/group_quantization.h"

/// The ways to quantize a model that lab04_quantize offers, each by the functions of the lab.
namespace lab04_tools {

struct Model {
  kit::ModelConfig config;
  std::shared_ptr<const kit::LlamaWeights> weights;
};

struct Options {
  lab04::GroupConfig grid{.bits = 4, .group_size = 64, .symmetric = true};
  bool act_order = false;
  double alpha = 0.5;  ///< SmoothQuant's
  std::uint64_t seed = 1;
};

/// A model to measure.
struct Quantized {
  std::shared_ptr<const kit::LlamaWeights> weights;
  std::int64_t n_bytes =
      0;                 ///< of all linears: codes, scales, zero points; 0 when the weights stay as they are
  kit::LinearOp linear;  ///< when activations are quantized, too
  std::function<std::unique_ptr<kit::KvCache>(const kit::KvCacheConfig&)>
      make_cache;  ///< when keys and values are
};

struct Scheme {
  std::string name;
  std::string what;
  bool has_grid = false;  ///< Options::grid means something
  std::function<Quantized(const Model&, const Options&)> quantize;
};

const std::vector<Scheme>& schemes();

}  // namespace lab04_tools
