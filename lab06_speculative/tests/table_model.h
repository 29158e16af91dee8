#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "kit/model.h"

/// A model whose logits are a table: exact, cheap, and honest about its cache. On the kit's side of the wall.
namespace lab06_tests {

/// Logits [vocab_size] after these tokens: the last `order` of the text, fewer at its beginning.
using LogitsOf = std::function<std::vector<float>(std::span<const int> last)>;

struct TableConfig {
  int vocab_size = 0;
  int order = 1;         ///< tokens that the next one depends on
  std::vector<int> eos;  ///< may be empty
  int max_seq_len = 1 << 14;
};

/// One call of forward, as the model saw it.
struct TableCall {
  int first_pos = 0;
  std::vector<int> tokens;
  kit::Logits which = kit::Logits::kLast;
};

/// Keeps the text in its cache, as keys (token, position), and reads it from there: a cache that was not cut
/// back, or not filled, changes the next logits, as in a real model.
class TableModel final : public kit::Model {
 public:
  TableModel(const TableConfig& table, LogitsOf logits_of);

  const kit::ModelConfig& config() const override { return config_; }
  /// After these tokens, not counted as a call.
  const std::vector<float>& logits_after(std::span<const int> tokens) const;
  const std::vector<TableCall>& seen() const { return seen_; }
  void forget_calls();

 protected:
  kit::Tensor<float> run(std::span<const int> tokens, kit::KvCache* cache, kit::Logits which) override;

 private:
  kit::ModelConfig config_;
  std::size_t order_;
  LogitsOf logits_of_;
  mutable std::map<std::vector<int>, std::vector<float>> known_;
  std::vector<TableCall> seen_;
};

/// The text that a TableModel's cache holds: [length].
std::vector<int> text_in(const kit::KvCache& cache);

/// Normal logits of this standard deviation, others for every history, stream and seed of the run.
LogitsOf random_logits(std::uint64_t stream, int vocab_size, float spread);
/// A draft that resembles: (1 - noise) * logits + noise * its own random ones.
LogitsOf noisy(LogitsOf logits_of, std::uint64_t stream, float noise);
/// The next token is next(last token) with near certainty (its logit is 30, the others' 0).
LogitsOf certain(int vocab_size, std::function<int(int last)> next);

/// Target and draft whose acceptance rate at temperature 1 is the same after every history, though their
/// distributions are not: both permute the same two distributions.
struct TablePair {
  std::unique_ptr<TableModel> target;
  std::unique_ptr<TableModel> draft;
};
TablePair constant_acceptance_pair(std::uint64_t stream, std::span<const double> p,
                                   std::span<const double> q);

}  // namespace lab06_tests
