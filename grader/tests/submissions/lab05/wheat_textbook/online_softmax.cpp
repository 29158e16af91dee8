#include "lab05/online_softmax.h"

#include <algorithm>
#include <cmath>

#include "kit/check.h"

namespace lab05 {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::size_t kTile = 24;

/// Of one tile, by the plain two loops.
SoftmaxStatistics of_tile(std::span<const float> scores) {
  SoftmaxStatistics tile;
  for (const float score : scores) tile.m = std::max(tile.m, score);
  if (tile.m == -kInfinity) return tile;
  for (const float score : scores) tile.l += std::exp(score - tile.m);
  return tile;
}

SoftmaxStatistics both(const SoftmaxStatistics& a, const SoftmaxStatistics& b) {
  if (a.l == 0.0F) return b;
  if (b.l == 0.0F) return a;
  const float m = std::max(a.m, b.m);
  return {.m = m, .l = a.l * std::exp(a.m - m) + b.l * std::exp(b.m - m)};
}

}  // namespace

SoftmaxStatistics update_statistics(const SoftmaxStatistics& so_far, std::span<const float> scores) {
  KIT_CHECK(!std::isnan(so_far.m) && so_far.m != kInfinity, "m is {}", so_far.m);
  KIT_CHECK(std::isfinite(so_far.l) && so_far.l >= 0.0F, "l is {}", so_far.l);
  KIT_CHECK(std::isfinite(so_far.m) == (so_far.l > 0.0F), "m is {}, l is {}", so_far.m, so_far.l);
  const auto bad = std::find_if(scores.begin(), scores.end(),
                                [](float score) { return std::isnan(score) || score == kInfinity; });
  KIT_CHECK(bad == scores.end(), "score {} is {}", bad - scores.begin(), *bad);
  SoftmaxStatistics all = so_far;
  for (std::size_t begin = 0; begin < scores.size(); begin += kTile) {
    all = both(all, of_tile(scores.subspan(begin, std::min(kTile, scores.size() - begin))));
  }
  return all;
}

void online_softmax(std::span<const float> scores, std::span<float> probabilities) {
  KIT_CHECK(scores.size() == probabilities.size(), "{} scores, {} probabilities", scores.size(),
            probabilities.size());
  const auto [m, l] = update_statistics({}, scores);
  if (l == 0.0F) {
    std::fill(probabilities.begin(), probabilities.end(), 0.0F);
    return;
  }
  const float share = 1.0F / l;
  for (std::size_t i = 0; i < scores.size(); ++i) probabilities[i] = share * std::exp(scores[i] - m);
}

}  // namespace lab05
