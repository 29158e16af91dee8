#include "kit/model_quality.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kit/checked.h"
#include "kit/parallel.h"
#include "kit/sampling.h"
#include "kit/step_executor.h"

namespace kit {
namespace {

/// Natural logarithms of softmax(logits), in double.
void log_softmax(std::span<const float> logits, std::vector<double>& out) {
  double largest = logits[0];
  for (const float logit : logits) largest = std::max(largest, static_cast<double>(logit));
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  const double log_sum = largest + std::log(sum);
  out.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) out[i] = logits[i] - log_sum;
}

std::size_t most_likely(std::span<const float> logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Sums over some tokens.
struct Sums {
  std::int64_t n_tokens = 0;
  double kl = 0.0;
  std::int64_t n_agree = 0;
  double reference_nll = 0.0;
  double nll = 0.0;

  void add(const Sums& other) {
    n_tokens += other.n_tokens;
    kl += other.kl;
    n_agree += other.n_agree;
    reference_nll += other.reference_nll;
    nll += other.nll;
  }
};

/// One text's tokens that have a successor.
Sums compare_text(const std::vector<int>& text, const Tensor<float>& reference,
                  const Tensor<float>& candidate) {
  const auto n = static_cast<std::int64_t>(text.size());
  KIT_CHECK(reference.rank() == 2 && reference.dim(0) == n && reference.shape() == candidate.shape(),
            "model_quality: logits {} and {} for a text of {} tokens", reference.shape().to_string(),
            candidate.shape().to_string(), n);
  Sums sums;
  std::vector<double> log_p;
  std::vector<double> log_q;
  for (std::int64_t t = 0; t + 1 < n; ++t) {
    log_softmax(reference.row(t), log_p);
    log_softmax(candidate.row(t), log_q);
    for (std::size_t i = 0; i < log_p.size(); ++i) sums.kl += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
    const auto next = static_cast<std::size_t>(text[static_cast<std::size_t>(t) + 1]);
    KIT_CHECK(next < log_p.size(), "model_quality: token {} of a vocabulary of {}", next, log_p.size());
    sums.reference_nll -= log_p[next];
    sums.nll -= log_q[next];
    sums.n_agree += most_likely(reference.row(t)) == most_likely(candidate.row(t)) ? 1 : 0;
    ++sums.n_tokens;
  }
  return sums;
}

/// Standard error of the mean over all tokens, when texts, not tokens, are independent.
double standard_error(const std::vector<Sums>& texts, double mean, std::int64_t n_tokens) {
  if (texts.size() < 2) return 0.0;
  double squares = 0.0;
  for (const Sums& text : texts) {
    const double deviation = text.kl - mean * static_cast<double>(text.n_tokens);
    squares += deviation * deviation;
  }
  const auto n = static_cast<double>(texts.size());
  return std::sqrt(squares * n / (n - 1.0)) / static_cast<double>(n_tokens);
}

}  // namespace

TokenSequences sample_texts(const ModelConfig& config, std::shared_ptr<const LlamaWeights> weights,
                            int n_texts, int n_tokens, Rng& rng) {
  KIT_CHECK(n_texts >= 1 && n_tokens >= 1 && n_tokens <= config.max_seq_len,
            "sample_texts: {} texts of {} tokens; the model has {} positions", n_texts, n_tokens,
            config.max_seq_len);
  constexpr int kBlockSize = 16;
  const int blocks_each = static_cast<int>(divide_round_up(n_tokens, kBlockSize));
  const PagedKvConfig kv{.n_layers = config.n_layers,
                         .n_kv_heads = config.n_kv_heads,
                         .head_dim = config.head_dim,
                         .block_size = kBlockSize,
                         .n_blocks = n_texts * blocks_each};
  const auto executor = make_llama_executor(config, std::move(weights), kv, gathered_paged_attention);
  TokenSequences texts;
  std::vector<StepSequence> batch(static_cast<std::size_t>(n_texts));
  for (int i = 0; i < n_texts; ++i) {
    texts.push_back({static_cast<int>(rng.below(static_cast<std::uint32_t>(config.vocab_size)))});
    StepSequence& sequence = batch[static_cast<std::size_t>(i)];
    for (int b = 0; b < blocks_each; ++b) sequence.block_table.push_back(i * blocks_each + b);
  }
  for (int pos = 0; pos + 1 < n_tokens; ++pos) {
    for (std::size_t i = 0; i < batch.size(); ++i) {
      batch[i].tokens = {texts[i].back()};
      batch[i].first_pos = pos;
    }
    const Tensor<float> logits = executor->run(batch);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      texts[i].push_back(sample(logits.row(static_cast<std::int64_t>(i)), 1.0F, rng));
    }
  }
  return texts;
}

std::vector<Tensor<float>> all_logits(Model& model, const TokenSequences& texts) {
  std::vector<Tensor<float>> logits;
  logits.reserve(texts.size());
  for (const std::vector<int>& text : texts) logits.push_back(model.forward(text, Logits::kAll));
  return logits;
}

ModelQuality model_quality(const TokenSequences& texts, const std::vector<Tensor<float>>& reference,
                           const std::vector<Tensor<float>>& candidate) {
  KIT_CHECK(!texts.empty() && reference.size() == texts.size() && candidate.size() == texts.size(),
            "model_quality: {} texts, logits of {} and {}", texts.size(), reference.size(), candidate.size());
  std::vector<Sums> each(texts.size());
  Sums all;
  parallel_for(static_cast<std::int64_t>(texts.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      each[i] = compare_text(texts[i], reference[i], candidate[i]);
    }
  });
  for (const Sums& sums : each) all.add(sums);
  KIT_CHECK(all.n_tokens > 0, "model_quality: {} texts without a token that has a successor", texts.size());
  const auto n = static_cast<double>(all.n_tokens);
  const double kl = all.kl / n;
  return {.n_tokens = all.n_tokens,
          .kl = kl,
          .kl_standard_error = standard_error(each, kl, all.n_tokens),
          .top1_agreement = static_cast<double>(all.n_agree) / n,
          .reference_nll = all.reference_nll / n,
          .nll = all.nll / n};
}

LlamaWeights with_outliers(const LlamaWeights& weights, int n_channels, float factor, Rng& rng) {
  LlamaWeights changed = weights;
  const auto inject = [&](Tensor<float>& gain, std::initializer_list<Tensor<float>*> readers) {
    KIT_CHECK(n_channels >= 0 && n_channels <= gain.size() && factor > 0.0F,
              "with_outliers: {} of {} channels times {}", n_channels, gain.size(), factor);
    std::vector<std::int64_t> channels;
    while (static_cast<int>(channels.size()) < n_channels) {
      const std::int64_t channel = rng.below(static_cast<std::uint32_t>(gain.size()));
      if (std::find(channels.begin(), channels.end(), channel) == channels.end()) channels.push_back(channel);
    }
    for (const std::int64_t channel : channels) {
      gain(channel) *= factor;
      for (Tensor<float>* w : readers) {
        for (std::int64_t o = 0; o < w->dim(0); ++o) (*w)(o, channel) /= factor;
      }
    }
  };
  for (LlamaLayerWeights& layer : changed.layers) {
    inject(layer.attention_norm, {&layer.wq, &layer.wk, &layer.wv});
    inject(layer.mlp_norm, {&layer.w_gate, &layer.w_up});
  }
  return changed;
}

}  // namespace kit
