#include "lab04/mixed_precision.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kit/linear.h"
#include "kit/model_quality.h"
#include "kit/step_executor.h"
#include "kit/testing.h"
#include "target_model.h"

namespace {

using kit::Tensor;
using kit::testing::make_rng;
using kit::testing::throws_error;
using Options = std::vector<int>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Losses and bytes of each layer with each option: [n_layers, n_options] both.
struct Table {
  Table(std::int64_t n_layers, std::int64_t n_options)
      : loss({n_layers, n_options}, 0.0), bytes({n_layers, n_options}, 0) {}

  int n_layers() const { return static_cast<int>(loss.dim(0)); }
  int n_options() const { return static_cast<int>(loss.dim(1)); }
  double loss_of(const Options& options) const {
    double sum = 0;
    for (int l = 0; l < n_layers(); ++l) sum += loss(l, options[static_cast<std::size_t>(l)]);
    return sum;
  }
  std::int64_t bytes_of(const Options& options) const {
    std::int64_t sum = 0;
    for (int l = 0; l < n_layers(); ++l) sum += bytes(l, options[static_cast<std::size_t>(l)]);
    return sum;
  }

  Tensor<double> loss;
  Tensor<std::int64_t> bytes;
};

/// For each layer the option with the least of what `cost` says; of equals the first.
Options least_each(const Table& t, const std::function<double(int layer, int option)>& cost) {
  Options options;
  for (int l = 0; l < t.n_layers(); ++l) {
    int best = 0;
    for (int o = 1; o < t.n_options(); ++o) best = cost(l, o) < cost(l, best) ? o : best;
    options.push_back(best);
  }
  return options;
}

Options smallest(const Table& t) {
  return least_each(t, [&](int l, int o) { return static_cast<double>(t.bytes(l, o)); });
}
Options least_loss_each(const Table& t) {
  return least_each(t, [&](int l, int o) { return t.loss(l, o); });
}

/// Every choice there is; none when nothing fits.
std::optional<Options> exhaustive(const Table& t, std::int64_t budget) {
  std::optional<Options> best;
  Options options(static_cast<std::size_t>(t.n_layers()), 0);
  while (true) {
    if (t.bytes_of(options) <= budget && (!best || t.loss_of(options) < t.loss_of(*best))) best = options;
    std::size_t layer = 0;
    while (layer < options.size() && ++options[layer] == t.n_options()) options[layer++] = 0;
    if (layer == options.size()) return best;
  }
}

/// The least loss when every option's bytes are rounded up to multiples of `unit`: never less than the
/// optimum, and the optimum itself for bytes that are multiples of it.
double least_loss_in_units(const Table& t, std::int64_t budget, std::int64_t unit) {
  const auto n_units = static_cast<std::size_t>(budget / unit);
  std::vector<double> least(n_units + 1, 0.0);  // of the layers so far, with so many units
  for (int l = 0; l < t.n_layers(); ++l) {
    std::vector<double> next(n_units + 1, kInfinity);
    for (int o = 0; o < t.n_options(); ++o) {
      const auto taken = static_cast<std::size_t>((t.bytes(l, o) + unit - 1) / unit);
      for (std::size_t u = taken; u <= n_units; ++u)
        next[u] = std::min(next[u], least[u - taken] + t.loss(l, o));
    }
    least = std::move(next);
  }
  return least[n_units];
}

/// Change after change from the smallest options on, each time the one that `gain` likes best of those that
/// fit and save loss.
Options greedy(const Table& t, std::int64_t budget,
               const std::function<double(double saved, std::int64_t more_bytes)>& gain) {
  Options options = smallest(t);
  while (true) {
    double best_gain = 0;
    Options best;
    for (int l = 0; l < t.n_layers(); ++l) {
      for (int o = 0; o < t.n_options(); ++o) {
        Options changed = options;
        changed[static_cast<std::size_t>(l)] = o;
        const double saved = t.loss_of(options) - t.loss_of(changed);
        if (!(saved > 0) || t.bytes_of(changed) > budget) continue;
        const double likes = gain(saved, t.bytes_of(changed) - t.bytes_of(options));
        if (likes > best_gain) best_gain = likes, best = std::move(changed);
      }
    }
    if (best.empty()) return options;
    options = std::move(best);
  }
}

/// The least of loss + price * bytes, with the lowest price at which that fits.
Options with_a_price(const Table& t, std::int64_t budget) {
  const auto at = [&](double price) {
    return least_each(
        t, [&](int l, int o) { return t.loss(l, o) + price * static_cast<double>(t.bytes(l, o)); });
  };
  Options best = smallest(t);
  double low = 1e-30;
  double high = 1e30;
  for (int i = 0; i < 300; ++i) {
    const double price = std::sqrt(low * high);
    const bool fits = t.bytes_of(at(price)) <= budget;
    if (fits) best = at(price);
    (fits ? high : low) = price;
  }
  return best;
}

std::string likely_cause(const Table& t, std::int64_t budget, const Options& got) {
  const auto is = [&](const std::optional<Options>& wrong) { return wrong && got == *wrong; };
  const auto text = [](const char* cause) { return fmt::format("\nLikely cause: {}", cause); };
  const bool is_small = std::pow(t.n_options(), t.n_layers()) < 5000;
  if (is_small && t.bytes_of(got) == budget + 1 && is(exhaustive(t, budget + 1)))
    return text("the budget is exceeded by one byte: at most budget_bytes");
  if (is(least_loss_each(t))) return text("each layer's least loss, whatever it takes");
  for (int o = t.n_options() - 1; o >= 0; --o) {
    if (t.n_options() > 1 && is(Options(static_cast<std::size_t>(t.n_layers()), o)))
      return text("the same option for every layer");
  }
  if (is(greedy(t, budget, [](double saved, std::int64_t) { return saved; })))
    return text("step after step to where the loss falls most, whatever the step takes");
  if (is(greedy(t, budget, [](double saved, std::int64_t more) {
        return more > 0 ? saved / static_cast<double>(more) : kInfinity;
      })))
    return text("step after step to where the loss falls most for each byte: no step is ever taken back");
  if (is(with_a_price(t, budget)))
    return text("a price for bytes (Lagrange multiplier) alone, which leaves a part of the budget unused");
  if (is(smallest(t))) return text("the smallest options, although there is room for better ones");
  if (is_small && is(exhaustive(t, budget - 1)))
    return text("a choice that takes exactly budget_bytes is refused");
  return {};
}

std::string describe(const Table& t, std::int64_t budget) {
  std::string text =
      fmt::format("{} layers, {} options, a budget of {} bytes", t.n_layers(), t.n_options(), budget);
  if (t.n_layers() > 6) return text;
  for (int l = 0; l < t.n_layers(); ++l) {
    text += fmt::format("\n  layer {}:", l);
    for (int o = 0; o < t.n_options(); ++o)
      text += fmt::format("  {:.4g} in {} B", t.loss(l, o), t.bytes(l, o));
  }
  return text;
}

/// `least` is the smallest sum of losses there is, or one that can be had.
Options expect_choice(const Table& t, std::int64_t budget, double least) {
  Options got = lab04::choose_options(t.loss, t.bytes, budget);
  const bool possible = std::ssize(got) == t.n_layers() && std::all_of(got.begin(), got.end(), [&](int o) {
                          return o >= 0 && o < t.n_options();
                        });
  if (!possible) {
    ADD_FAILURE() << fmt::format("[{}] is not an option for each layer", fmt::join(got, ", "));
    return got;
  }
  const auto fail = [&](const std::string& what) {
    ADD_FAILURE() << fmt::format("[{}] {}{}\n{}", fmt::join(got, ", "), what, likely_cause(t, budget, got),
                                 describe(t, budget));
  };
  if (t.bytes_of(got) > budget)
    fail(fmt::format("take {} bytes, {} more than the budget", t.bytes_of(got), t.bytes_of(got) - budget));
  // The contract's 2 %, and a little for sums in another order.
  else if (!(t.loss_of(got) <= 1.02 * least * (1 + 1e-12)))
    fail(fmt::format("have a loss of {:.6g}, possible is {:.6g}", t.loss_of(got), least));
  return got;
}

Options expect_choice(const Table& t, std::int64_t budget) {
  return expect_choice(t, budget, t.loss_of(exhaustive(t, budget).value()));
}

/// Layers of different size and sensitivity; with every bit more the loss falls to about a quarter.
Table random_table(std::int64_t n_layers, std::int64_t n_options, kit::Rng& rng) {
  Table t(n_layers, n_options);
  for (std::int64_t l = 0; l < n_layers; ++l) {
    const double sensitivity = std::exp(rng.normal());
    const double unit = 20 + 200 * rng.uniform();
    for (std::int64_t o = 0; o < n_options; ++o) {
      const double bits = 2 + static_cast<double>(o) + 0.5 * rng.uniform();
      t.bytes(l, o) = static_cast<std::int64_t>(unit * bits);
      t.loss(l, o) = sensitivity * std::pow(4.0, -bits) * (0.7 + 0.6 * rng.uniform());
    }
  }
  return t;
}

/// Between the smallest there is and what nothing could exceed.
std::int64_t random_budget(const Table& t, kit::Rng& rng) {
  std::int64_t most = 0;
  for (int l = 0; l < t.n_layers(); ++l)
    most += *std::max_element(t.bytes.row(l).begin(), t.bytes.row(l).end());
  const std::int64_t least = t.bytes_of(smallest(t));
  return least + static_cast<std::int64_t>(rng.uniform() * static_cast<double>(most - least));
}

std::int64_t between(kit::Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.below(static_cast<std::uint32_t>(high - low + 1)));
}

/// What a call asked for: the one layer that is quantized, or what is wrong.
std::string problem_of_call(std::span<const int> options, int n_layers, int n_options) {
  const std::string call = fmt::format("loss([{}])", fmt::join(options, ", "));
  if (std::ssize(options) != n_layers) return fmt::format("{}: the model has {} layers", call, n_layers);
  const auto is_quantized = [](int option) { return option != -1; };
  for (const int option : options) {
    if (option < -1 || option >= n_options) return fmt::format("{}: there is no option {}", call, option);
  }
  const auto n_quantized = std::count_if(options.begin(), options.end(), is_quantized);
  if (n_quantized == 0)
    return call + "\nLikely cause: the model in full precision is measured, too: it has no loss";
  if (n_quantized == n_layers && n_layers > 1)
    return call + "\nLikely cause: the other layers are quantized, too: -1 leaves a layer in full precision";
  if (n_quantized > 1) {
    return call +
           "\nLikely cause: layers measured before are still quantized: each is measured alone, all others "
           "in "
           "full precision";
  }
  return {};
}

/// Losses that do not add up: quantized together, layers cost more.
double some_loss(std::span<const int> options) {
  double sum = 0;
  int n_quantized = 0;
  for (std::size_t l = 0; l < options.size(); ++l) {
    if (options[l] < 0) continue;
    sum += std::sin(1 + 3.0 * static_cast<double>(l) + 0.7 * options[l]) + 2;
    ++n_quantized;
  }
  return sum * n_quantized;
}

void expect_measured(int n_layers, int n_options) {
  SCOPED_TRACE(fmt::format("{} layers, {} options", n_layers, n_options));
  std::vector<Options> calls;
  const Tensor<double> got =
      lab04::measure_sensitivity(n_layers, n_options, [&](std::span<const int> options) {
        calls.emplace_back(options.begin(), options.end());
        return some_loss(options);
      });
  for (const Options& call : calls) {
    const std::string problem = problem_of_call(call, n_layers, n_options);
    ASSERT_EQ(problem, "");
  }
  EXPECT_EQ(std::set<Options>(calls.begin(), calls.end()).size(), calls.size())
      << "something was measured twice";
  EXPECT_EQ(std::ssize(calls), std::int64_t{n_layers} * n_options) << "calls of loss: each takes minutes";
  ASSERT_EQ(got.shape().to_string(), kit::Shape({n_layers, n_options}).to_string());
  for (int l = 0; l < n_layers; ++l) {
    for (int o = 0; o < n_options; ++o) {
      Options alone(static_cast<std::size_t>(n_layers), -1);
      alone[static_cast<std::size_t>(l)] = o;
      EXPECT_EQ(got(l, o), some_loss(alone)) << "layer " << l << ", option " << o;
    }
  }
}

TEST(Sensitivity, OneLayerAtATime) {
  expect_measured(4, 3);
}

TEST(Sensitivity, AnyNumberOfLayersAndOptions) {
  expect_measured(1, 1);
  expect_measured(1, 5);
  expect_measured(5, 1);
  expect_measured(31, 2);
}

TEST(Sensitivity, RejectsWhatCannotBe) {
  for (const auto& [n_layers, n_options] :
       {std::pair(0, 3), std::pair(-77, 3), std::pair(3, 0), std::pair(3, -77)}) {
    const std::string needle = std::to_string(std::min(n_layers, n_options));
    EXPECT_TRUE(throws_error(
        [n_layers = n_layers, n_options = n_options] {
          (void)lab04::measure_sensitivity(n_layers, n_options, some_loss);
        },
        needle))
        << n_layers << " layers, " << n_options << " options";
  }
}

// Two layers, 10 bytes:
//            2 bits          4 bits          8 bits
//   0     9 in 2 B        4 in 4 B        0 in 8 B
//   1     6 in 2 B        3 in 4 B        2 in 8 B
// The best that fits is 8 and 2 bits: 0 + 6 = 6 in 10 B. 4 bits for both: 7 in 8 B.
TEST(ChooseOptions, ByHand) {
  Table t(2, 3);
  const std::array<double, 6> losses = {9, 4, 0, 6, 3, 2};
  const std::array<std::int64_t, 6> bytes = {2, 4, 8, 2, 4, 8};
  std::copy(losses.begin(), losses.end(), t.loss.data());
  std::copy(bytes.begin(), bytes.end(), t.bytes.data());
  EXPECT_EQ(expect_choice(t, 10), (Options{2, 0}));
  EXPECT_EQ(expect_choice(t, 9), (Options{1, 1})) << "one byte less than 8 and 2 bits need";
  EXPECT_EQ(expect_choice(t, 4), (Options{0, 0})) << "exactly the smallest";
  EXPECT_EQ(expect_choice(t, 12), (Options{2, 1}));
  EXPECT_EQ(expect_choice(t, 16), (Options{2, 2}));
  EXPECT_EQ(expect_choice(t, 1'000'000), (Options{2, 2})) << "room for everything";
}

TEST(ChooseOptions, SmallCasesAgainstEveryChoice) {
  kit::Rng rng = make_rng(531);
  for (int i = 0; i < 40 && !HasFailure(); ++i) {
    const Table t = random_table(6, 4, rng);
    expect_choice(t, random_budget(t, rng));
  }
}

TEST(ChooseOptions, AnyNumberOfLayersAndOptions) {
  kit::Rng rng = make_rng(532);
  for (int i = 0; i < 100 && !HasFailure(); ++i) {
    const Table t = random_table(between(rng, 1, 5), between(rng, 1, 4), rng);
    expect_choice(t, random_budget(t, rng));
  }
}

TEST(ChooseOptions, ExactlyTheBudgetIsAllowedAndNotAByteMore) {
  kit::Rng rng = make_rng(533);
  for (int i = 0; i < 40 && !HasFailure(); ++i) {
    const Table t = random_table(4, 4, rng);
    const std::int64_t budget = t.bytes_of(exhaustive(t, random_budget(t, rng)).value());
    expect_choice(t, budget);
    if (budget > t.bytes_of(smallest(t))) expect_choice(t, budget - 1);
    expect_choice(t, budget + 1);
  }
}

TEST(ChooseOptions, MoreBytesNeedNotBeBetter) {
  kit::Rng rng = make_rng(534);
  for (int i = 0; i < 60 && !HasFailure(); ++i) {
    Table t(5, 4);
    for (double& x : t.loss.span()) x = rng.uniform();
    for (std::int64_t& x : t.bytes.span()) x = between(rng, 10, 200);
    expect_choice(t, random_budget(t, rng));
  }
}

TEST(ChooseOptions, EqualLossesAndNoBytes) {
  kit::Rng rng = make_rng(535);
  for (int i = 0; i < 100 && !HasFailure(); ++i) {
    Table t(5, 3);
    for (double& x : t.loss.span()) x = static_cast<double>(between(rng, 0, 2));
    for (std::int64_t& x : t.bytes.span()) x = 7 * between(rng, 0, 2);
    expect_choice(t, random_budget(t, rng));
  }
  const Table nothing(3, 2);
  expect_choice(nothing, 0);
  Table free(3, 2);
  for (int l = 0; l < 3; ++l) free.loss(l, 0) = 1.0 + l;
  EXPECT_EQ(expect_choice(free, 0), (Options{1, 1, 1})) << "option 1 has no loss and takes no byte";
}

TEST(ChooseOptions, BytesBeyond32Bits) {
  // Layers of a 70B model take 2e8 to 2e9 bytes each.
  kit::Rng rng = make_rng(536);
  for (int i = 0; i < 30 && !HasFailure(); ++i) {
    Table t = random_table(6, 4, rng);
    for (std::int64_t& x : t.bytes.span()) x = x * 2'000'003 + between(rng, 0, 1'000'000);
    const std::int64_t budget = t.bytes_of(exhaustive(t, random_budget(t, rng)).value());
    expect_choice(t, budget);
  }
  Table t = random_table(3, 2, rng);
  for (std::int64_t& x : t.bytes.span()) x = std::int64_t{1} << 62;
  EXPECT_TRUE(throws_error([&] {
    (void)lab04::choose_options(t.loss, t.bytes, std::numeric_limits<std::int64_t>::max());
  })) << "three times 2^62 bytes exceed every budget. Likely cause: their sum overflows";
}

TEST(ChooseOptions, ManyLayers) {
  // 40 layers have 4^40 choices. In multiples of 1000 bytes the reference is exact.
  kit::Rng rng = make_rng(537);
  for (int i = 0; i < 3 && !HasFailure(); ++i) {
    Table t = random_table(40, 4, rng);
    for (std::int64_t& x : t.bytes.span()) x = std::max<std::int64_t>(x / 10, 1) * 1000;
    const std::int64_t budget = random_budget(t, rng);
    expect_choice(t, budget, least_loss_in_units(t, budget, 1000));
  }
  // Sums of bytes that hardly ever coincide. Rounded up to a 20,000th of the budget, the least loss that the
  // reference finds is one that can be had.
  Table t = random_table(40, 4, rng);
  for (std::int64_t& x : t.bytes.span()) x = x * 1'000'003 + between(rng, 0, 1'000'000);
  const std::int64_t budget = random_budget(t, rng);
  const double possible = least_loss_in_units(t, budget, budget / 20'000);
  if (std::isfinite(possible)) expect_choice(t, budget, possible);
}

TEST(ChooseOptions, RejectsWhatCannotBe) {
  kit::Rng rng = make_rng(538);
  const Table good = random_table(3, 4, rng);
  const auto refuses = [&](const std::string& needle, const std::function<void(Table&)>& spoil) {
    Table t = good;
    spoil(t);
    return throws_error([&] { (void)lab04::choose_options(t.loss, t.bytes, 1'000'000); }, needle);
  };
  EXPECT_TRUE(refuses("", [](Table& t) { t.loss = Tensor<double>({4, 3}, 1.0); })) << "loss transposed";
  EXPECT_TRUE(refuses("", [](Table& t) {
    t.bytes = Tensor<std::int64_t>({3, 3}, 1);
  })) << "an option too few";
  EXPECT_TRUE(refuses("", [](Table& t) { t.bytes = Tensor<std::int64_t>({2, 4}, 1); })) << "a layer too few";
  EXPECT_TRUE(refuses("", [](Table& t) {
    t.loss = Tensor<double>({12}, 1.0);
    t.bytes = Tensor<std::int64_t>({12}, 1);
  })) << "rank 1";
  EXPECT_TRUE(refuses("-0.25", [](Table& t) { t.loss(2, 3) = -0.25; })) << "a negative loss";
  EXPECT_TRUE(refuses("", [](Table& t) { t.loss(1, 0) = kNan; })) << "a loss of NaN";
  EXPECT_TRUE(refuses("-77", [](Table& t) { t.bytes(0, 1) = -77; })) << "-77 bytes";
}

TEST(ChooseOptions, SaysHowMuchTheSmallestOptionsNeed) {
  kit::Rng rng = make_rng(539);
  const Table t = random_table(5, 3, rng);
  const std::int64_t least = t.bytes_of(smallest(t));
  for (const std::int64_t budget : {least - 1, least / 2, std::int64_t{0}, std::int64_t{-77}}) {
    const auto choose = [&] { (void)lab04::choose_options(t.loss, t.bytes, budget); };
    EXPECT_TRUE(throws_error(choose, std::to_string(least))) << "what the smallest options take";
    EXPECT_TRUE(throws_error(choose, std::to_string(budget))) << "the budget";
  }
}

/// The target with some of its layers rounded to fewer bits, in groups of 64.
class TargetInBits {
 public:
  explicit TargetInBits(std::span<const int> bits) : bits_(bits.begin(), bits.end()) {
    for (const int b : bits_) {
      for (const kit::LinearId id : kit::linears_of(lab04_tests::target_config()))
        rounded_.push_back(rounded(kit::weight_of(*lab04_tests::target_weights(), id), b));
    }
    kit::Rng rng = make_rng(540);
    // 62 tokens: enough to tell layers apart, not to know their KL to a few percent.
    texts_ = kit::sample_texts(lab04_tests::target_config(), lab04_tests::target_weights(), 2, 32, rng);
    model_ = kit::make_llama(lab04_tests::target_config(), lab04_tests::target_weights(),
                             kit::gathered_attention_ops(), [this](kit::LinearId id, auto x, auto w, auto y) {
                               const int option = options_[static_cast<std::size_t>(id.layer)];
                               kit::linear(x, option < 0 ? w : rounded_[index(id, option)].view(), y);
                             });
    (void)kl(Options(static_cast<std::size_t>(lab04_tests::target_config().n_layers), -1));
  }

  /// KL per token; of the first call, the reference.
  double kl(std::span<const int> options) {
    options_.assign(options.begin(), options.end());
    const std::vector<Tensor<float>> logits = kit::all_logits(*model_, texts_);
    if (reference_.empty()) reference_ = logits;
    return kit::model_quality(texts_, reference_, logits).kl;
  }

  /// With the scales, 2 bytes for 64 weights.
  std::int64_t bytes(int layer, int option) const {
    std::int64_t sum = 0;
    for (const kit::LinearId id : kit::linears_of(lab04_tests::target_config())) {
      if (id.layer != layer) continue;
      const auto& w = rounded_[index(id, option)];
      const std::int64_t bits = bits_[static_cast<std::size_t>(option)];
      sum += w.dim(0) * ((w.dim(1) * bits + 7) / 8 + 2 * ((w.dim(1) + 63) / 64));
    }
    return sum;
  }

  /// In all linears of all layers.
  double n_weights() const {
    double n = 0;
    for (const kit::LinearId id : kit::linears_of(lab04_tests::target_config()))
      n += static_cast<double>(rounded_[index(id, 0)].size());
    return n;
  }

 private:
  static Tensor<float> rounded(kit::TensorView<const float> w, int bits) {
    Tensor<float> result(w.shape());
    const auto largest_code = static_cast<float>((1 << (bits - 1)) - 1);
    for (std::int64_t begin = 0; begin < w.size(); begin += 64) {  // rows are multiples of 64
      const std::span<const float> group = w.span().subspan(static_cast<std::size_t>(begin), 64);
      float largest = 0;
      for (const float x : group) largest = std::max(largest, std::abs(x));
      const float scale = kit::to_float(kit::to_half(largest / largest_code));
      for (std::size_t i = 0; i < 64; ++i)
        result.data()[begin + static_cast<std::int64_t>(i)] = scale * std::nearbyint(group[i] / scale);
    }
    return result;
  }
  std::size_t index(kit::LinearId id, int option) const {
    return kit::linears_of(lab04_tests::target_config()).size() * static_cast<std::size_t>(option) +
           static_cast<std::size_t>(id.index());
  }

  std::vector<int> bits_;
  std::vector<Tensor<float>> rounded_;  // all linears with the first option, then with the next
  kit::TokenSequences texts_;
  Options options_;
  std::unique_ptr<kit::Model> model_;
  std::vector<Tensor<float>> reference_;
};

/// Every layer with every option, measured by the student's function on the real model.
void measure(TargetInBits& target, Table& t) {
  std::map<Options, double> measured;
  const Tensor<double> sensitivity =
      lab04::measure_sensitivity(t.n_layers(), t.n_options(), [&](std::span<const int> options) {
        return measured[Options(options.begin(), options.end())] = target.kl(options);
      });
  ASSERT_EQ(sensitivity.shape().to_string(), t.loss.shape().to_string());
  for (int l = 0; l < t.n_layers(); ++l) {
    for (int o = 0; o < t.n_options(); ++o) {
      Options alone(static_cast<std::size_t>(t.n_layers()), -1);
      alone[static_cast<std::size_t>(l)] = o;
      ASSERT_TRUE(measured.contains(alone)) << "layer " << l << ", option " << o << " was not measured alone";
      ASSERT_EQ(sensitivity(l, o), measured[alone]) << "layer " << l << ", option " << o;
      t.loss(l, o) = std::max(measured[alone], 0.0);
      t.bytes(l, o) = target.bytes(l, o);
    }
  }
}

struct Curve {
  void add(double bits_per_weight, double loss) {
    x.push_back(bits_per_weight);
    y.push_back(loss);
  }
  void record(const std::string& name) const {
    kit::testing::record_series(name + "_bits", x);
    kit::testing::record_series(name + "_kl", y);
  }

  std::vector<double> x, y;
};

TEST(MixedPrecision, BitsForTheLayersOfTheTarget) {
  const std::array<int, 4> bits = {2, 3, 4, 8};
  TargetInBits target(bits);
  Table t(lab04_tests::target_config().n_layers, std::ssize(bits));
  measure(target, t);
  if (HasFatalFailure()) return;

  const auto per_weight = [&](std::int64_t bytes) {
    return 8 * static_cast<double>(bytes) / target.n_weights();
  };
  Curve chosen, together, same;
  const std::int64_t least = t.bytes_of(smallest(t));
  const std::int64_t step = t.bytes(0, 1) - t.bytes(0, 0);  // one bit more in one layer
  const int n_steps = (bits.back() - bits.front()) * t.n_layers();
  for (int i = 0; i <= n_steps; ++i) {
    const std::int64_t budget = least + i * step;
    const Options options = expect_choice(t, budget);
    if (HasFailure()) return;
    chosen.add(per_weight(budget), t.loss_of(options));
    if (i % 6 == 3) together.add(per_weight(t.bytes_of(options)), target.kl(options));
  }
  for (int o = 0; o < t.n_options(); ++o) {
    const Options all(static_cast<std::size_t>(t.n_layers()), o);
    same.add(per_weight(t.bytes_of(all)), t.loss_of(all));
  }
  chosen.record("chosen");
  together.record("together");
  same.record("same");
  kit::testing::record_series("same_mark", std::vector<double>(bits.begin(), bits.end()));
}

}  // namespace
