// What crosses: every kind of parameter and result, through a second process.
#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <thread>
#include <vector>

#include "tiny_model.h"
#include "worker_process.h"

namespace {

enum class Colour { kRed, kGreen, kBlue };

struct Person {
  std::string name;
  std::optional<double> weight;
  std::vector<Colour> colours;
  bool operator==(const Person&) const = default;
};
template <class Archive>
void serialize(Archive& archive, Person& x) {
  auto& [name, weight, colours] = x;
  archive(name, weight, colours);
}

}  // namespace

template <>
struct kit::remote::LastEnumerator<Colour> {
  static constexpr Colour kValue = Colour::kBlue;
};

namespace kit::remote {
namespace {

using Floats = TensorView<const float>;

Person older(const Person& person, bool heavier, std::int8_t by, Colour also) {
  Person result = person;
  result.name += "!";
  if (heavier) result.weight = result.weight.value_or(0.0) + by;
  result.colours.push_back(also);
  return result;
}

TEST(RemotePassing, CarriesValuesOfEveryKind) {
  WorkerProcess worker;
  const Person person{std::string("a\0b", 3), std::nullopt, {Colour::kRed}};
  EXPECT_EQ(ask<&older>(worker, person, false, std::int8_t{-1}, Colour::kBlue),
            (Person{std::string("a\0b!", 4), std::nullopt, {Colour::kRed, Colour::kBlue}}));
  EXPECT_EQ(ask<&older>(worker, person, true, std::int8_t{-1}, Colour::kGreen).weight, -1.0);
}

std::vector<std::optional<std::string>> swapped(const std::vector<std::optional<std::string>>& in) {
  return {in.rbegin(), in.rend()};
}

TEST(RemotePassing, CarriesContainersOfContainers) {
  WorkerProcess worker;
  EXPECT_TRUE(ask<&swapped>(worker, std::vector<std::optional<std::string>>{}).empty());
  const std::vector<std::optional<std::string>> three = {"", std::nullopt, std::string(100000, 'x')};
  EXPECT_EQ(ask<&swapped>(worker, three),
            (std::vector<std::optional<std::string>>{three[2], three[1], three[0]}));
}

std::vector<double> echo(double one, std::vector<double> more) {
  more.push_back(one);
  return more;
}

TEST(RemotePassing, KeepsEveryBitOfNanAndInfinity) {
  WorkerProcess worker;
  const auto quiet = std::bit_cast<double>(0x7FF8000000000ABCULL);
  const std::vector<double> odd = {-0.0, std::numeric_limits<double>::infinity(), quiet,
                                   std::numeric_limits<double>::denorm_min()};
  const std::vector<double> back = ask<&echo>(worker, -quiet, odd);
  ASSERT_EQ(back.size(), 5);
  for (std::size_t i = 0; i < odd.size(); ++i)
    EXPECT_EQ(std::bit_cast<std::uint64_t>(back[i]), std::bit_cast<std::uint64_t>(odd[i]));
  EXPECT_EQ(std::bit_cast<std::uint64_t>(back[4]), std::bit_cast<std::uint64_t>(-quiet));
}

void add(Floats a, std::span<const float> b, TensorView<float> out, std::span<float> doubled) {
  KIT_CHECK(out.shape() == a.shape(), "out {}", out.shape().to_string());
  for (std::int64_t i = 0; i < a.size(); ++i) out.data()[i] = a.data()[i] + b[i];
  for (float& x : doubled) x *= 2;
}

TEST(RemotePassing, ArraysComeBackChangedWhereTheyMayBe) {
  WorkerProcess worker;
  // 12 MiB each, and odd.
  const Shape shape{1025, 3, 1023};
  Tensor<float> a(shape, 1.5F);
  a(1024, 2, 1022) = std::bit_cast<float>(0x7FC00123U);
  const std::vector<float> b(static_cast<std::size_t>(shape.size()), 2.0F);
  Tensor<float> out(shape, -1.0F);
  std::vector<float> doubled = {1, 2, 3};
  ask<&add>(worker, a.view(), b, out.view(), doubled);
  EXPECT_EQ(out(0, 0, 0), 3.5F);
  EXPECT_EQ(out(1024, 2, 1021), 3.5F);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(out(1024, 2, 1022)), 0x7FC00123U);
  EXPECT_EQ(a(0, 0, 0), 1.5F);
  EXPECT_EQ(doubled, (std::vector<float>{2, 4, 6}));
  EXPECT_EQ(worker->own_arena().top(), 0);
}

std::vector<std::int64_t> describe(Floats view, TensorView<float> out) {
  std::vector<std::int64_t> result = {view.rank(), view.size(), out.rank(), out.size()};
  for (int axis = 0; axis < view.rank(); ++axis) result.push_back(view.dim(axis));
  result.push_back(view.data() == nullptr ? 1 : 0);
  return result;
}

TEST(RemotePassing, EmptyAndDefaultViewsStayWhatTheyAre) {
  WorkerProcess worker;
  using Numbers = std::vector<std::int64_t>;
  EXPECT_EQ(ask<&describe>(worker, Floats(), TensorView<float>()), (Numbers{0, 0, 0, 0, 1}));
  const Tensor<float> empty({2, 0, 3});
  EXPECT_EQ(ask<&describe>(worker, empty.view(), TensorView<float>()), (Numbers{3, 0, 0, 0, 2, 0, 3, 0}));
  float one = 4;
  EXPECT_EQ(ask<&describe>(worker, TensorView<float>(&one, Shape{}), TensorView<float>(&one, Shape{})),
            (Numbers{0, 1, 0, 1, 0}));
}

Tensor<float> make(int rank) {
  if (rank < 0) return {};
  Tensor<float> tensor(rank == 0 ? Shape{} : Shape{2, 3});
  for (std::int64_t i = 0; i < tensor.size(); ++i) tensor.data()[i] = static_cast<float>(i + 1);
  return tensor;
}

TEST(RemotePassing, ReturnsTensors) {
  WorkerProcess worker;
  EXPECT_EQ(ask<&make>(worker, -1).size(), 0);
  EXPECT_EQ(ask<&make>(worker, 0).size(), 1);
  const Tensor<float> tensor = ask<&make>(worker, 2);
  EXPECT_EQ(tensor.shape(), (Shape{2, 3}));
  EXPECT_EQ(tensor(1, 2), 6.0F);
}

std::uint32_t draw(Rng& rng, int n) {
  std::uint32_t last = 0;
  for (int i = 0; i < n; ++i) last = rng.next_u32();
  return last;
}

TEST(RemotePassing, DrawsOfAGeneratorComeBack) {
  WorkerProcess worker;
  Rng here(5, 7);
  Rng there(5, 7);
  EXPECT_EQ(ask<&draw>(worker, there, 10), draw(here, 10));
  EXPECT_EQ(there, here);
}

std::optional<RopeScaling> rotate(const Rope& rope, TensorView<float> x) {
  rope.rotate(x, 3);
  return rope.scaling();
}

TEST(RemotePassing, ARopeIsMadeAgain) {
  WorkerProcess worker;
  for (const std::optional<RopeScaling>& scaling :
       {std::optional<RopeScaling>(), std::optional<RopeScaling>({8, 1, 4, 64})}) {
    const Rope rope(6, 20, 500.0F, scaling);
    Tensor<float> here({2, 1, 6}, 1.0F);
    Tensor<float> there({2, 1, 6}, 1.0F);
    rope.rotate(here, 3);
    EXPECT_EQ(ask<&rotate>(worker, rope, there.view()).has_value(), scaling.has_value());
    EXPECT_TRUE(std::ranges::equal(here.span(), there.span()));
  }
}

using Step = std::function<int(int)>;

int apply(const Step& step, int x) {
  return step ? step(x) + 1 : -1;
}
int apply_by_value(
    std::function<void(std::span<const float>)> each) {  // NOLINT(performance-unnecessary-value-param)
  const std::vector<float> numbers = {1, 2};
  each(numbers);
  each({});
  return 0;
}

TEST(RemotePassing, FunctionsAreCalledBackAndMayNest) {
  WorkerProcess worker;
  EXPECT_EQ(ask<&apply>(worker, Step(), 3), -1);
  EXPECT_EQ(ask<&apply>(worker, Step([](int x) { return 2 * x; }), 3), 7);
  const Step nested = [&](int x) {
    return x == 0 ? 0
                  : ask<&apply>(worker, Step([&](int y) { return ask<&apply>(worker, nested, y - 1); }), x);
  };
  EXPECT_EQ(ask<&apply>(worker, nested, 3), 7);
  EXPECT_EQ(worker->n_objects(), 0);
}

TEST(RemotePassing, FunctionsTakeArrays) {
  WorkerProcess worker;
  std::vector<std::vector<float>> seen;
  ask<&apply_by_value>(worker, [&](std::span<const float> x) { seen.emplace_back(x.begin(), x.end()); });
  EXPECT_EQ(seen, (std::vector<std::vector<float>>{{1, 2}, {}}));
}

TEST(RemotePassing, ThreadsTakeTurns) {
  WorkerProcess worker;
  std::vector<int> sums(4);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&worker, &sums, t] {
      for (int i = 0; i < 50; ++i) sums[t] += ask<&apply>(worker, Step([t](int x) { return x * t; }), i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < 4; ++t) EXPECT_EQ(sums[t], 1225 * t + 50);
}

}  // namespace
}  // namespace kit::remote
