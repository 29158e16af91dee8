#include "kit/step_executor.h"

#include <algorithm>
#include <unordered_set>

namespace kit {

namespace {

void check_sequence(const StepSequence& s, std::size_t index, const ModelConfig& model,
                    const PagedKvConfig& kv) {
  const auto n = static_cast<std::int64_t>(s.tokens.size());
  KIT_CHECK(n >= 1, "sequence {} of the batch has no tokens", index);
  for (const int token : s.tokens)
    KIT_CHECK(token >= 0 && token < model.vocab_size, "token {} is not in [0, {})", token, model.vocab_size);
  const std::int64_t end = s.first_pos + n;
  KIT_CHECK(s.first_pos >= 0 && end <= model.max_seq_len,
            "sequence {} of the batch: positions {} .. {}, the model has {}", index, s.first_pos, end - 1,
            model.max_seq_len);
  const std::int64_t n_blocks = (end + kv.block_size - 1) / kv.block_size;
  KIT_CHECK(static_cast<std::int64_t>(s.block_table.size()) >= n_blocks,
            "sequence {} of the batch: {} blocks for {} positions, {} are needed", index,
            s.block_table.size(), end, n_blocks);
  for (std::int64_t i = 0; i < n_blocks; ++i) {
    const int block = s.block_table[static_cast<std::size_t>(i)];
    KIT_CHECK(block >= 0 && block < kv.n_blocks, "sequence {} of the batch: block {} is not in [0, {})",
              index, block, kv.n_blocks);
  }
}

}  // namespace

Tensor<float> StepExecutor::run(const std::vector<StepSequence>& batch, Logits which) {
  KIT_CHECK(!batch.empty(), "a step without sequences");
  const PagedKvConfig& kv = kv_config();
  StepRecord record;
  std::unordered_set<std::int64_t> written;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const StepSequence& s = batch[i];
    check_sequence(s, i, config(), kv);
    const int end = s.first_pos + static_cast<int>(s.tokens.size());
    for (int pos = s.first_pos; pos < end; ++pos) {
      const int block = s.block_table[static_cast<std::size_t>(pos / kv.block_size)];
      const std::int64_t slot = std::int64_t{block} * kv.block_size + pos % kv.block_size;
      KIT_CHECK(
          written.insert(slot).second,
          "sequence {} of the batch would write its position {} to block {}, place {}, where another token "
          "of this step goes",
          i, pos, block, pos % kv.block_size);
    }
    record.n_sequences += 1;
    record.n_tokens += static_cast<int>(s.tokens.size());
    record.longest_context = std::max(record.longest_context, end);
  }
  Tensor<float> logits = run_checked(batch, which);
  steps_.push_back(record);
  tokens_processed_ += record.n_tokens;
  return logits;
}

void StepExecutor::reset_stats() {
  steps_.clear();
  tokens_processed_ = 0;
}

}  // namespace kit
