#pragma once

#include <cstdint>
#include <span>

/// Seeded random numbers that are the same on every machine and standard library.
namespace kit {

/// PCG32 (O'Neill 2014, PCG-XSH-RR 64/32). A value: copy it to replay, send it to another process.
class Rng {
 public:
  /// `stream` selects one of 2^63 independent sequences for the same seed.
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0);

  std::uint32_t next_u32();
  /// Uniform in [0, 1), 53 random bits.
  double uniform();
  /// Uniform in [low, high).
  float uniform(float low, float high);
  /// Uniform integer in [0, n), without modulo bias. Throws kit::Error when n is 0.
  std::uint32_t below(std::uint32_t n);
  /// Standard normal (Box-Muller, one of the pair).
  double normal();

  void fill_uniform(std::span<float> out, float low, float high);
  void fill_normal(std::span<float> out, float stddev = 1.0F);

  bool operator==(const Rng&) const = default;

 private:
  std::uint64_t state_;
  std::uint64_t increment_;
};

}  // namespace kit
