#include "lab01/planner.h"

#include <algorithm>
#include <functional>

#include "kit/check.h"
#include "kit/checked.h"
#include "kit/model_table.h"

namespace lab01 {

namespace {

constexpr std::int64_t kGroupSize = 128;

void check_configuration(const kit::ModelConfig& model, const Configuration& c) {
  model.validate();
  KIT_CHECK(c.batch > 0, "batch is {}, must be positive", c.batch);
  KIT_CHECK(c.seq_len > 0, "seq_len is {}, must be positive", c.seq_len);
  KIT_CHECK(c.seq_len <= model.max_seq_len, "seq_len is {}, the model has {} positions", c.seq_len,
            model.max_seq_len);
  KIT_CHECK(c.n_devices > 0 && model.n_kv_heads % c.n_devices == 0,
            "n_devices is {}, which must divide the {} key/value heads", c.n_devices, model.n_kv_heads);
}

bool fits_on(const kit::Device& device, const kit::ModelConfig& model, const Configuration& configuration) {
  constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;
  return footprint(model, configuration).total_bytes <= device.memory_bytes / 1'000'000'000.0 * kGibibyte;
}

/// The largest n in [1, limit] for which `ok`, which is true up to some n and false beyond; 0 when there is
/// none.
std::int64_t largest(std::int64_t limit, const std::function<bool(std::int64_t)>& ok) {
  std::int64_t good = 0;
  std::int64_t bad = limit + 1;
  while (bad - good > 1) {
    const std::int64_t middle = good + (bad - good) / 2;
    (ok(middle) ? good : bad) = middle;
  }
  return good;
}

std::int64_t max_batch(const kit::ModelConfig& model, const kit::Device& device, Configuration c) {
  c.batch = 1;
  // Not even the caches of more than this many sequences fit.
  const std::int64_t limit = device.memory_bytes / std::max<std::int64_t>(1, footprint(model, c).kv_bytes);
  return largest(limit, [&](std::int64_t batch) {
    c.batch = batch;
    return fits_on(device, model, c);
  });
}

std::int64_t max_seq_len(const kit::ModelConfig& model, const kit::Device& device, Configuration c) {
  return largest(model.max_seq_len, [&](std::int64_t seq_len) {
    c.seq_len = seq_len;
    return fits_on(device, model, c);
  });
}

Assessment assess(const kit::ModelConfig& model, const kit::Device& device, const Configuration& c) {
  Assessment result;
  result.configuration = c;
  result.per_device = footprint(model, c);
  result.fits = result.per_device.total_bytes <= device.memory_bytes;
  result.limit = decode_limit(device.bandwidth_bytes_per_s * static_cast<double>(c.n_devices),
                              weight_bytes(kit::n_parameters_read(model), c.formats.weights),
                              kv_cache_bytes(model, 1, c.seq_len, c.formats.kv), c.batch);
  return result;
}

/// Collects suggestions for one plan.
class Advisor {
 public:
  Advisor(const kit::ModelConfig& model, const kit::Device& device, const Configuration& asked)
      : model_(model), device_(device), asked_(asked), narrowest_(asked.formats) {}

  std::vector<Suggestion> advise() {
    narrower_formats();
    fewer_sequences();
    shorter_context();
    more_devices();
    return std::move(suggestions_);
  }

 private:
  void add(Change change, const Configuration& c) {
    suggestions_.push_back({change, assess(model_, device_, c)});
  }

  void add_formats(Change change, const Formats& formats) {
    Configuration c = asked_;
    c.formats = formats;
    add(change, c);
  }

  void narrower_formats() {
    const std::int64_t n = kit::n_parameters(model_);
    for (const kit::NumberFormat number : {kit::NumberFormat::kInt8, kit::NumberFormat::kInt4}) {
      const WeightFormat weights{number, kGroupSize, false};
      if (weight_bytes(n, weights) >= weight_bytes(n, asked_.formats.weights)) continue;
      narrowest_.weights = weights;
      add_formats(Change::kNarrowerWeights, narrowest_);
    }
    if (kit::bits(asked_.formats.kv) <= 8) return;
    const bool both = !suggestions_.empty();
    Formats formats = asked_.formats;
    formats.kv = narrowest_.kv = kit::NumberFormat::kInt8;
    add_formats(Change::kNarrowerCache, formats);
    if (both) add_formats(Change::kNarrowerBoth, narrowest_);
  }

  void fewer_sequences() {
    for (const Formats& formats : {asked_.formats, narrowest_}) {
      Configuration c = asked_;
      c.formats = formats;
      c.batch = max_batch(model_, device_, c);
      if (c.batch == 0) continue;
      if (c.batch < asked_.batch) add(Change::kFewerSequences, c);
      return;
    }
  }

  void shorter_context() {
    for (const Formats& formats : {asked_.formats, narrowest_}) {
      Configuration c = asked_;
      c.formats = formats;
      c.seq_len = max_seq_len(model_, device_, c);
      if (c.seq_len == 0) continue;
      if (c.seq_len < asked_.seq_len) add(Change::kShorterContext, c);
      return;
    }
  }

  void more_devices() {
    Configuration c = asked_;
    for (c.n_devices = asked_.n_devices + 1; c.n_devices <= model_.n_kv_heads; ++c.n_devices) {
      if (model_.n_kv_heads % c.n_devices != 0 || !fits_on(device_, model_, c)) continue;
      return add(Change::kMoreDevices, c);
    }
  }

  const kit::ModelConfig& model_;
  const kit::Device& device_;
  const Configuration& asked_;
  Formats narrowest_;  // the last of the formats shown
  std::vector<Suggestion> suggestions_;
};

}  // namespace

Footprint footprint(const kit::ModelConfig& model, const Configuration& c) {
  check_configuration(model, c);
  const std::int64_t weights = weight_bytes(kit::n_parameters(model), c.formats.weights);
  const std::int64_t kv = kv_cache_bytes(model, c.batch, c.seq_len, c.formats.kv);
  Footprint result;
  result.weight_bytes = kit::divide_round_up(weights, c.n_devices);
  result.kv_bytes = kit::divide_round_up(kv, c.n_devices);
  result.activation_bytes =
      std::max(activation_bytes(model, c.batch, 1, c.formats.activations),
               activation_bytes(model, 1, std::min(c.seq_len, kPrefillChunk), c.formats.activations));
  result.total_bytes =
      kit::checked_sum("total bytes", {result.weight_bytes, result.kv_bytes, result.activation_bytes});
  return result;
}

bool fits(const kit::ModelConfig& model, const kit::Device& device, std::int64_t batch, std::int64_t seq_len,
          const Formats& formats) {
  return fits_on(device, model, {batch, seq_len, formats, 1});
}

Plan make_plan(const kit::ModelConfig& model, const kit::Device& device, const Configuration& asked) {
  Plan plan;
  plan.asked = assess(model, device, asked);
  plan.max_batch = max_batch(model, device, asked);
  plan.max_seq_len = max_seq_len(model, device, asked);
  if (!plan.asked.fits) plan.suggestions = Advisor(model, device, asked).advise();
  return plan;
}

}  // namespace lab01
