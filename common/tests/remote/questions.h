#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kit/reference.h"
#include "kit/remote/interfaces.h"
#include "tiny_model.h"

namespace kit::remote {

enum class Light { kOff, kOn };
template <>
struct LastEnumerator<Light> {
  static constexpr Light kValue = Light::kOn;
};

/// Questions that together use every way in which bytes of a worker are read.
using Question = std::function<void(Connection&)>;

inline std::vector<Question> all_questions() {
  const auto ask = []<class R, class... P>(std::type_identity<R(P...)>) {
    return [](Connection& connection, P... arguments) -> decltype(auto) {
      return Call<R(P...)>::ask(connection, {.name = "question"}, std::forward<P>(arguments)...);
    };
  };
  using Rows = std::vector<std::pair<std::string, std::vector<std::optional<double>>>>;
  return {
      [ask](Connection& c) { ask(std::type_identity<void()>())(c); },
      [ask](Connection& c) { ask(std::type_identity<bool()>())(c); },
      [ask](Connection& c) { ask(std::type_identity<Light()>())(c); },
      [ask](Connection& c) { ask(std::type_identity<std::string()>())(c); },
      [ask](Connection& c) { ask(std::type_identity<std::vector<double>()>())(c); },
      [ask](Connection& c) { ask(std::type_identity<std::vector<bool>()>())(c); },
      [ask](Connection& c) { ask(std::type_identity<Rows()>())(c); },
      [ask](Connection& c) { ask(std::type_identity<ModelConfig()>())(c); },
      [ask](Connection& c) { ask(std::type_identity<Tensor<float>()>())(c); },
      [ask](Connection& c) {
        const auto cache = ask(std::type_identity<std::unique_ptr<KvCache>()>())(c);
        if (cache == nullptr) return;
        cache->keys(0);
        cache->keys(0);
        cache->length(0);
      },
      [ask](Connection& c) {
        TinyModel model;
        const auto cache = make_reference_kv_cache(model.config().kv_cache_config(16));
        std::vector<float> out(3);
        Rng rng(1);
        const std::function<void(int, std::span<const float>, std::function<int(int)>)> callback =
            [](int, std::span<const float> x, const std::function<int(int)>& further) {
              if (!x.empty() && further) further(static_cast<int>(x.size()));
            };
        ask(std::type_identity<int(
                Model&, KvCache&, std::span<float>, Rng&,
                const std::function<void(int, std::span<const float>, std::function<int(int)>)>&)>())(
            c, model, *cache, out, rng, callback);
        KIT_CHECK(!model.saw_a_bad_token(), "a token that the model had refused");
      },
  };
}

}  // namespace kit::remote
