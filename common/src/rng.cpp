#include "kit/rng.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "kit/check.h"

namespace kit {

Rng::Rng(std::uint64_t seed, std::uint64_t stream) : state_(0), increment_((stream << 1) | 1U) {
  next_u32();
  state_ += seed;
  next_u32();
}

std::uint32_t Rng::next_u32() {
  const std::uint64_t old = state_;
  state_ = old * 6364136223846793005ULL + increment_;
  const auto shifted = static_cast<std::uint32_t>(((old >> 18U) ^ old) >> 27U);
  return std::rotr(shifted, static_cast<int>(old >> 59U));
}

double Rng::uniform() {
  const std::uint64_t high = next_u32() >> 5;  // 27 bits
  const std::uint64_t low = next_u32() >> 6;   // 26 bits
  return static_cast<double>((high << 26) | low) * 0x1p-53;
}

float Rng::uniform(float low, float high) {
  return low + (high - low) * static_cast<float>(next_u32() >> 8) * 0x1p-24F;
}

std::uint32_t Rng::below(std::uint32_t n) {
  KIT_CHECK(n > 0, "below(n): n is 0, there is no integer in [0, 0)");
  const std::uint32_t threshold = (0U - n) % n;  // 2^32 mod n: values below it would be drawn too often
  for (;;) {
    const std::uint32_t value = next_u32();
    if (value >= threshold) return value % n;
  }
}

double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));  // natural log of (0, 1]
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

void Rng::fill_uniform(std::span<float> out, float low, float high) {
  for (float& value : out) value = uniform(low, high);
}

void Rng::fill_normal(std::span<float> out, float stddev) {
  for (float& value : out) value = stddev * static_cast<float>(normal());
}

}  // namespace kit
