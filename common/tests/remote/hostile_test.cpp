// Whatever a worker sends, the checker throws a ConnectionError or carries on; it never throws what a test
// may expect.
#include "hostile_worker.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <limits>
#include <thread>

#include "kit/rng.h"
#include "questions.h"

namespace kit::remote {
namespace {

constexpr auto kHuge = std::numeric_limits<std::uint64_t>::max();

template <class R>
R ask(HostileWorker& worker) {
  return Call<R()>::ask(worker.checker(), {.name = "question"});
}

/// The question throws a ConnectionError, and so does every later one.
template <class F>
void expect_refused(HostileWorker& worker, std::string_view what, F question) {
  SCOPED_TRACE(what);
  EXPECT_THROW(question(), ConnectionError);
  EXPECT_FALSE(worker.checker().works());
  EXPECT_THROW(ask<void>(worker), ConnectionError);
  EXPECT_EQ(worker.checker().n_objects(), 0);
  EXPECT_EQ(worker.checker().own_arena().top(), 0);
}

/// `bytes`, and then the end, are no answer of type R.
template <class R>
void expect_no_answer(std::string_view what, const Bytes& bytes) {
  HostileWorker worker;
  worker.say(bytes).hang_up();
  expect_refused(worker, what, [&] { ask<R>(worker); });
}

/// The question with a model (object 1), a cache (2) and a function of one number (3).
void ask_with_objects(HostileWorker& worker) {
  TinyModel model;
  const auto cache = make_reference_kv_cache(model.config().kv_cache_config(16));
  Call<void(Model&, KvCache&, const std::function<void(int)>&)>::ask(worker.checker(), {.name = "question"},
                                                                     model, *cache, [](int) {});
}

void expect_no_callback(std::string_view what, const Bytes& bytes) {
  HostileWorker worker;
  worker.say(bytes).say(returns({})).hang_up();
  expect_refused(worker, what, [&] { ask_with_objects(worker); });
}

Bytes raw(std::string_view text) {
  Bytes bytes;
  for (const char c : text) bytes << c;
  return bytes;
}
template <class T>
Bytes number(T value) {
  return Bytes() << value;
}
/// An array in the worker's shared memory.
Bytes array(std::uint64_t offset, std::uint64_t n_bytes) {
  return Bytes() << offset << n_bytes;
}
Bytes tensor(const std::vector<std::int64_t>& dims, const Bytes& place) {
  Bytes bytes;
  bytes << static_cast<std::uint8_t>(dims.size());
  for (const std::int64_t dim : dims) bytes << dim;
  return bytes << true << place;
}
Bytes tokens(std::uint64_t n, const Bytes& place) {
  return Bytes() << n << false << place;
}
Bytes forward(const Bytes& which_tokens, std::int32_t which) {
  return calls(1, 1, Bytes() << which_tokens << which);
}

TEST(RemoteHostile, TheseFramesWouldBeAnswers) {
  // What the cases below change one thing of.
  HostileWorker worker;
  std::memset(worker.arena(), 0, 64);
  worker.say(returns(number(7)));
  EXPECT_EQ(ask<int>(worker), 7);
  worker.say(returns(Bytes() << std::string_view("abc")));
  EXPECT_EQ(ask<std::string>(worker), "abc");
  worker.say(returns(tensor({2, 3}, array(64, 24))));
  EXPECT_EQ(ask<Tensor<float>>(worker).shape(), (Shape{2, 3}));
  worker.say(forward(tokens(2, array(0, 8)), 1)).say(calls(3, 0, number(1))).say(returns({}));
  ask_with_objects(worker);
  worker.say(throws(2, "bad"));
  EXPECT_THROW(ask<int>(worker), Error);
  worker.say(frame(kReturn, kChecker, 0, 0, Bytes() << true << std::uint64_t{9}));
  EXPECT_NE(ask<std::unique_ptr<KvCache>>(worker), nullptr);
  EXPECT_TRUE(worker.checker().works());
}

TEST(RemoteHostile, Frames) {
  expect_no_answer<void>("nothing", {});
  expect_no_answer<void>("half a length", number(std::uint16_t{5}));
  expect_no_answer<void>("length 0", number(std::uint32_t{0}));
  expect_no_answer<void>("length 2^32 - 1", number(std::uint32_t{0xFFFFFFFF}));
  expect_no_answer<void>("one above the limit", number((std::uint32_t{16} << 20) + 1));
  expect_no_answer<void>("the limit, and nothing behind", number(std::uint32_t{16} << 20));
  expect_no_answer<void>("unknown kind", frame(5, kChecker, 0, 0, {}));
  expect_no_answer<void>("kind 255", frame(255, kChecker, 0, 0, {}));
  expect_no_answer<void>("unknown owner", frame(kReturn, 2, 0, 0, {}));
  expect_no_answer<void>("a long name", frame(kReturn, kChecker, 0, 0, {}, std::string(100000, 'n')));
  expect_no_answer<void>("bytes behind the frame's content",
                         Bytes() << std::uint32_t{39} << Bytes(frame(kReturn, 0, 0, 0, {}, "")) << kHuge);
  const std::string whole = frame(kReturn, kChecker, 0, 0, number(1)).text();
  for (std::size_t n = 1; n < whole.size(); ++n) {
    HostileWorker worker;
    worker.say(std::string_view(whole).substr(0, n)).hang_up();
    expect_refused(worker, "cut off", [&] { ask<int>(worker); });
  }
}

TEST(RemoteHostile, Values) {
  expect_no_answer<int>("too short", returns(number(std::uint16_t{1})));
  expect_no_answer<int>("too long", returns(Bytes() << 1 << 2));
  expect_no_answer<void>("something for nothing", returns(number(std::uint8_t{0})));
  expect_no_answer<bool>("a bool of 2", returns(number(std::uint8_t{2})));
  expect_no_answer<std::optional<int>>("an optional of 2", returns(Bytes() << std::uint8_t{2} << 1));
  expect_no_answer<Light>("enumerator 2", returns(number(2)));
  expect_no_answer<Light>("enumerator -1", returns(number(-1)));
  expect_no_answer<std::vector<Light>>("enumerator in a vector", returns(Bytes() << std::uint64_t{1} << 77));
  for (const std::uint64_t size : {std::uint64_t{1}, std::uint64_t{1} << 60, kHuge, kHuge / 8 + 2}) {
    expect_no_answer<std::string>("string", returns(number(size)));
    expect_no_answer<std::vector<double>>("numbers", returns(number(size)));
    expect_no_answer<std::vector<bool>>("bools", returns(number(size)));
    expect_no_answer<std::vector<std::string>>("strings", returns(number(size)));
    expect_no_answer<std::map<int, int>>("map", returns(number(size)));
  }
}

std::size_t peak_bytes() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

TEST(RemoteHostile, AClaimOfManyElementsTakesNoMemory) {
  // 15 MiB of zeros that claim to be as many elements, of 88 bytes each: 1.3 GB if somebody made them all at
  // once. A message and its copies take some 100 MiB, twice that with AddressSanitizer.
  const std::string zeros(15 << 20, '\0');
  Bytes claim;
  claim << static_cast<std::uint64_t>(zeros.size());
  const std::string body = claim.text() + zeros;
  HostileWorker worker;
  std::thread writer([&] { worker.say(returns(raw(body))); });
  const std::size_t before = peak_bytes();
  EXPECT_THROW(ask<std::vector<ModelConfig>>(worker), ConnectionError);
  writer.join();
  EXPECT_LT(peak_bytes() - before, std::size_t{400} << 20);
}

TEST(RemoteHostile, Exceptions) {
  expect_no_answer<void>("kind -1", throws(-1, "x"));
  expect_no_answer<void>("kind 13", throws(13, "x"));
  expect_no_answer<void>("no text", frame(kThrow, kChecker, 0, 0, number(0)));
  expect_no_answer<void>("a result behind",
                         frame(kThrow, kChecker, 0, 0, Bytes() << 0 << std::string_view("x") << 1));
  expect_no_answer<void>("a text that is too long", throws(2, std::string(64 * 1024 + 1, 'x')));
}

TEST(RemoteHostile, ArraysThatCannotBe) {
  const auto refuse = [](std::string_view what, const Bytes& body) {
    expect_no_answer<Tensor<float>>(what, returns(body));
  };
  constexpr std::uint64_t kArena = std::uint64_t{1} << 30;
  refuse("behind the end", tensor({6}, array(kArena, 24)));
  refuse("over the end", tensor({32}, array(kArena - 64, 128)));
  refuse("an offset that wraps", tensor({16}, array(kHuge - 63, 64)));
  refuse("misaligned", tensor({6}, array(4, 24)));
  refuse("another size", tensor({6}, array(0, 28)));
  refuse("no size", tensor({6}, array(0, 0)));
  refuse("larger than the arena", tensor({std::int64_t{1} << 29}, array(0, std::uint64_t{1} << 31)));
  refuse("negative", tensor({-1}, array(0, 0)));
  refuse("negative twice", tensor({-2, -3}, array(0, 24)));
  refuse("an overflowing product", tensor({std::int64_t{1} << 32, std::int64_t{1} << 32}, array(0, 0)));
  refuse("an overflow to the right size", tensor({std::int64_t{1} << 62, 4, 2}, array(0, 0)));
  refuse("the largest dimension", tensor({std::numeric_limits<std::int64_t>::max(), 1}, array(0, 4)));
  refuse("the smallest", tensor({std::numeric_limits<std::int64_t>::min(), 0}, array(0, 0)));
  refuse("five dimensions", tensor({1, 1, 1, 1, 1}, array(0, 4)));
  refuse("rank 255", number(std::uint8_t{255}));
  refuse("no elements, but a shape", Bytes() << std::uint8_t{1} << std::int64_t{3} << false << array(0, 0));
}

TEST(RemoteHostile, CallsOfWhatIsNotThere) {
  expect_no_callback("a service", frame(kCall, kChecker, 0, 0, {}, "kit::device_allocate"));
  expect_no_callback("object 0", calls(0, 0, {}));
  expect_no_callback("object 4", calls(4, 0, {}));
  expect_no_callback("its own object", frame(kMethod, kWorker, 1, 0, {}));
  expect_no_callback("a method too many", calls(1, 3, {}));
  expect_no_callback("method -1", calls(1, -1, {}));
  expect_no_callback("too few arguments", calls(3, 0, {}));
  expect_no_callback("too many arguments", calls(3, 0, Bytes() << 1 << 2));
  expect_no_callback("a release of an argument", frame(kRelease, kChecker, 1, 0, {}));
  expect_no_callback("a release of what is not there", frame(kRelease, kChecker, 99, 0, {}));
  expect_no_callback("a release of its own", frame(kRelease, kWorker, 1, 0, {}));
  HostileWorker worker;
  worker.say(returns({})).say(calls(3, 0, number(1)));
  ask_with_objects(worker);
  expect_refused(worker, "a callback after the reply", [&] { ask<void>(worker); });
}

TEST(RemoteHostile, ArgumentsOfCallbacks) {
  const auto with_cache = [](std::uint8_t owner, std::uint64_t id) {
    return calls(1, 2, Bytes() << tokens(1, array(0, 4)) << static_cast<std::int32_t>(owner) << id << 0);
  };
  expect_no_callback("a function as a cache", with_cache(kChecker, 3));
  expect_no_callback("a model as a cache", with_cache(kChecker, 1));
  expect_no_callback("a cache that is not there", with_cache(kChecker, 9));
  expect_no_callback("nobody's cache", with_cache(7, 2));
  expect_no_callback("device memory", forward(Bytes() << std::uint64_t{1} << true << std::uint64_t{4096}, 0));
  expect_no_callback("tokens outside", forward(tokens(1, array(std::uint64_t{1} << 30, 4)), 0));
  expect_no_callback("2^62 tokens", forward(tokens(std::uint64_t{1} << 62, array(0, 0)), 0));
  expect_no_callback("2^62 + 1 tokens", forward(tokens((std::uint64_t{1} << 62) + 1, array(0, 4)), 0));
  expect_no_callback("which logits?", forward(tokens(1, array(0, 4)), 2));
}

TEST(RemoteHostile, BadTokensAreTheWorkersProblem) {
  HostileWorker worker;
  const int bad = 1 << 30;
  std::memcpy(worker.arena(), &bad, sizeof(bad));
  worker.say(forward(tokens(1, array(0, 4)), 0)).say(returns({}));
  ask_with_objects(worker);
  EXPECT_TRUE(worker.checker().works()) << "it was told, and went on";
}

TEST(RemoteHostile, EndlessCallbacksWithinCallbacksEnd) {
  HostileWorker worker;
  // The function asks the worker, which instead of an answer calls the function again: objects 1, 2, 3, ...
  Bytes all;
  for (std::uint64_t id = 1; id <= 100; ++id) all << calls(id, 0, {});
  worker.say(all).hang_up();
  int n_calls = 0;
  const std::function<void()> again = [&] {
    ++n_calls;
    Call<void(const std::function<void()>&)>::ask(worker.checker(), {.name = "again"}, again);
  };
  expect_refused(worker, "nested", again);
  EXPECT_EQ(n_calls, 64);
}

TEST(RemoteHostile, TokensThatChangeAfterTheCheck) {
  HostileWorker worker;
  auto* shared = reinterpret_cast<std::atomic<int>*>(worker.arena());
  std::atomic<bool> done = false;
  std::thread flips([&] {
    while (!done) {
      shared->store(1);
      shared->store(1 << 30);
    }
  });
  std::thread asks([&] {
    std::array<char, 4096> answers{};
    for (int i = 0; i < 500; ++i) {
      worker.say(forward(tokens(1, array(0, 4)), 0));
      KIT_CHECK(::recv(worker.socket(), answers.data(), answers.size(), 0) > 0, "no answer");
    }
    worker.say(returns({}));
  });
  TinyModel model;
  Call<void(Model&)>::ask(worker.checker(), {.name = "question"}, model);
  asks.join();
  done = true;
  flips.join();
  EXPECT_FALSE(model.saw_a_bad_token());
}

TEST(RemoteHostile, TheSharedMemoryCannotBeCutOff) {
  HostileWorker worker;
  EXPECT_NE(::ftruncate(worker.arena_file(), 0), 0);
  worker.say(returns(tensor({6}, array(0, 24))));
  EXPECT_EQ(ask<Tensor<float>>(worker).size(), 6);
}

TEST(RemoteHostile, ACacheThatChangesWhileItIsLookedAt) {
  HostileWorker worker;
  worker.say(returns(Bytes() << true << std::uint64_t{1}));
  const auto cache = ask<std::unique_ptr<KvCache>>(worker);
  constexpr std::int64_t kFloats = std::int64_t{1} << 26;  // 256 MiB
  worker.say(returns(tensor({4}, array(0, 16))));
  const TensorView<const float> first = cache->keys(0);
  // A view is read after the worker has changed its size again and again: until it is too much.
  int n_calls = 0;
  const auto look = [&] {
    for (; n_calls < 8; ++n_calls) {
      worker.say(
          returns(tensor({kFloats + n_calls}, array(0, static_cast<std::uint64_t>(kFloats + n_calls) * 4))));
      cache->keys(0);
      EXPECT_EQ(first(3), 0.0F);
    }
  };
  EXPECT_THROW(look(), ConnectionError);
  EXPECT_EQ(n_calls, 4);
}

/// Frames that are right in most places: random bytes alone would hardly get past the first check.
Bytes random_frame(Rng& rng) {
  const auto byte = [&rng](std::initializer_list<int> likely) {
    return rng.below(8) == 0 ? static_cast<std::uint8_t>(rng.below(256))
                             : static_cast<std::uint8_t>(
                                   likely.begin()[rng.below(static_cast<std::uint32_t>(likely.size()))]);
  };
  const auto any = [&rng]() -> std::uint64_t {
    const std::uint64_t wide = (std::uint64_t{rng.next_u32()} << 32) | rng.next_u32();
    return rng.below(2) == 0 ? rng.below(5) : wide >> rng.below(64);
  };
  Bytes body;
  for (std::uint32_t n = rng.below(8); n > 0; --n) {
    switch (rng.below(4)) {
      case 0:
        body << byte({0, 1, 2});
        break;
      case 1:
        body << static_cast<std::int32_t>(any());
        break;
      case 2:
        body << any();
        break;
      default:
        body << std::string_view("abcd").substr(0, rng.below(5));
    }
  }
  Bytes whole = frame(byte({1, 1, 1, 2, 2, 3, 4}), byte({0, 0, 0, 1}), any(),
                      static_cast<std::int32_t>(rng.below(7)), body);
  if (rng.below(16) != 0) return whole;
  // Its length stays as it was.
  const std::string_view text = whole.text();
  return raw(text.substr(0, rng.below(static_cast<std::uint32_t>(text.size()))));
}

TEST(RemoteHostile, RandomFrames) {
  const std::vector<Question> questions = all_questions();
  int n_refused = 0;
  int n_other = 0;
  constexpr int kRounds = 4000;
  for (int round = 0; round < kRounds; ++round) {
    Rng rng(static_cast<std::uint64_t>(round), 77);
    HostileWorker worker;
    for (int i = 0; i < 4; ++i) worker.say(random_frame(rng));
    worker.hang_up();
    try {
      questions[static_cast<std::size_t>(round) % questions.size()](worker.checker());
      ++n_other;
    } catch (const ConnectionError&) {
      ++n_refused;
    } catch (const std::exception&) {
      ++n_other;  // a worker may throw what it likes
    }
    ASSERT_EQ(worker.checker().n_objects(), 0) << "round " << round;
    ASSERT_EQ(worker.checker().own_arena().top(), 0) << "round " << round;
  }
  EXPECT_GT(n_refused, kRounds / 2);
  EXPECT_GT(n_other, 0) << "some of them are answers";
}

}  // namespace
}  // namespace kit::remote
