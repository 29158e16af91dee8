#include "table_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "kit/check.h"
#include "kit/testing.h"

namespace lab06_tests {

namespace {

// Two layers, so that a cache which is cut in one of them alone shows.
constexpr int kLayers = 2;
constexpr int kHeadDim = 2;

/// A generator that belongs to this history alone.
kit::Rng rng_of(std::uint64_t stream, std::span<const int> last) {
  std::uint64_t hash = 1469598103934665603ULL + stream;  // FNV-1a over the tokens
  for (const int token : last) hash = (hash ^ static_cast<std::uint64_t>(token + 1)) * 1099511628211ULL;
  return kit::Rng(kit::testing::seed() * 1000003ULL + hash, stream);
}

}  // namespace

TableModel::TableModel(const TableConfig& table, LogitsOf logits_of)
    : order_(static_cast<std::size_t>(table.order)), logits_of_(std::move(logits_of)) {
  config_.vocab_size = table.vocab_size;
  config_.dim = kHeadDim;
  config_.hidden_dim = kHeadDim;
  config_.n_layers = kLayers;
  config_.n_heads = 1;
  config_.n_kv_heads = 1;
  config_.head_dim = kHeadDim;
  config_.max_seq_len = table.max_seq_len;
  config_.eos_token_ids = table.eos;
}

void TableModel::forget_calls() {
  seen_.clear();
  reset_stats();
}

const std::vector<float>& TableModel::logits_after(std::span<const int> tokens) const {
  const auto last = tokens.last(std::min(tokens.size(), order_));
  const std::vector<int> key(last.begin(), last.end());
  const auto found = known_.find(key);
  return found != known_.end() ? found->second : known_.emplace(key, logits_of_(last)).first->second;
}

kit::Tensor<float> TableModel::run(std::span<const int> tokens, kit::KvCache* cache, kit::Logits which) {
  std::vector<int> text;
  if (cache != nullptr) text = text_in(*cache);
  const auto first_pos = static_cast<int>(text.size());
  seen_.push_back({first_pos, {tokens.begin(), tokens.end()}, which});
  const auto n = static_cast<std::int64_t>(tokens.size());
  kit::Tensor<float> rows({n, 1, kHeadDim});
  const std::int64_t n_rows = which == kit::Logits::kAll ? n : 1;
  kit::Tensor<float> logits({n_rows, config_.vocab_size});
  for (std::int64_t i = 0; i < n; ++i) {
    text.push_back(tokens[static_cast<std::size_t>(i)]);
    rows(i, 0, 0) = static_cast<float>(text.back());
    rows(i, 0, 1) = static_cast<float>(first_pos + i);
    if (i >= n - n_rows) std::ranges::copy(logits_after(text), logits.row(i - (n - n_rows)).begin());
  }
  if (cache != nullptr) {
    for (int layer = 0; layer < kLayers; ++layer) cache->append(layer, rows, rows);
  }
  return logits;
}

std::vector<int> text_in(const kit::KvCache& cache) {
  const kit::TensorView<const float> keys = cache.keys(0);
  KIT_CHECK(keys.rank() == 3 && keys.dim(1) == 1 && keys.dim(2) == kHeadDim, "keys of shape {}",
            keys.shape().to_string());
  std::vector<int> text;
  for (std::int64_t t = 0; t < keys.dim(0); ++t) {
    const float token = keys(t, 0, 0);  // anybody's cache: not trusted to be a token
    text.push_back(token >= 0 && token < 1e6F ? static_cast<int>(token) : -1);
  }
  return text;
}

LogitsOf random_logits(std::uint64_t stream, int vocab_size, float spread) {
  return [=](std::span<const int> last) {
    kit::Rng rng = rng_of(stream, last);
    std::vector<float> logits(static_cast<std::size_t>(vocab_size));
    rng.fill_normal(logits, spread);
    return logits;
  };
}

LogitsOf noisy(LogitsOf logits_of, std::uint64_t stream, float noise) {
  return [logits_of = std::move(logits_of), stream, noise](std::span<const int> last) {
    std::vector<float> logits = logits_of(last);
    kit::Rng rng = rng_of(stream, last);
    for (float& logit : logits) {
      logit = (1.0F - noise) * logit + noise * static_cast<float>(2.0 * rng.normal());
    }
    return logits;
  };
}

LogitsOf certain(int vocab_size, std::function<int(int last)> next) {
  return [vocab_size, next = std::move(next)](std::span<const int> last) {
    std::vector<float> logits(static_cast<std::size_t>(vocab_size), 0.0F);
    logits.at(static_cast<std::size_t>(next(last.back()))) = 30.0F;
    return logits;
  };
}

TablePair constant_acceptance_pair(std::uint64_t stream, std::span<const double> p,
                                   std::span<const double> q) {
  const auto permuted = [stream](std::span<const double> distribution) {
    return [stream,
            kept = std::vector<double>(distribution.begin(), distribution.end())](std::span<const int> last) {
      std::vector<std::size_t> places(kept.size());
      std::iota(places.begin(), places.end(), std::size_t{0});
      kit::Rng rng = rng_of(stream, last);  // the same for both models
      for (std::size_t i = places.size() - 1; i > 0; --i) {
        std::swap(places[i], places[rng.below(static_cast<std::uint32_t>(i + 1))]);
      }
      std::vector<float> logits(kept.size());
      for (std::size_t i = 0; i < kept.size(); ++i) {
        logits[places[i]] = static_cast<float>(std::log(kept[i]));
      }
      return logits;
    };
  };
  const TableConfig table{.vocab_size = static_cast<int>(p.size()), .order = 2, .eos = {}};
  return {std::make_unique<TableModel>(table, permuted(p)), std::make_unique<TableModel>(table, permuted(q))};
}

}  // namespace lab06_tests
