// Exceptions, limits, and workers that end.
#include <gtest/gtest.h>

#include <csignal>
#include <new>
#include <stdexcept>

#include "kit/simt/profile.h"
#include "worker_process.h"

namespace kit::remote {
namespace {

enum class Thrown {
  kNotImplemented,
  kLaunch,
  kError,
  kMemory,
  kLength,
  kRange,
  kArgument,
  kLogic,
  kRuntime,
  kInt,
  kLong
};

}  // namespace
template <>
struct LastEnumerator<Thrown> {
  static constexpr Thrown kValue = Thrown::kLong;
};
namespace {

void raise_one(Thrown which) {
  switch (which) {
    case Thrown::kNotImplemented:
      throw NotImplemented("task 1");
    case Thrown::kLaunch:
      throw simt::LaunchError("kernel");
    case Thrown::kError:
      throw Error("bad value 3");
    case Thrown::kMemory:
      throw std::bad_alloc();
    case Thrown::kLength:
      throw std::length_error("l");
    case Thrown::kRange:
      throw std::out_of_range("r");
    case Thrown::kArgument:
      throw std::invalid_argument("a");
    case Thrown::kLogic:
      throw std::logic_error("c");
    case Thrown::kRuntime:
      throw std::runtime_error("t");
    case Thrown::kInt:
      throw 3;  // NOLINT(hicpp-exception-baseclass)
    case Thrown::kLong:
      throw std::runtime_error(std::string(std::size_t{1} << 20, 'x'));
  }
}

/// The type and the text must be those: a base class is another type.
template <class E>
void expect_same(Connection& worker, Thrown which, const std::string& what) {
  try {
    ask<&raise_one>(worker, which);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::exception& error) {
    EXPECT_EQ(typeid(error), typeid(E)) << error.what();
    EXPECT_EQ(error.what(), what);
  }
}

TEST(RemoteFailures, ExceptionsKeepTypeAndText) {
  WorkerProcess worker;
  expect_same<NotImplemented>(worker, Thrown::kNotImplemented, "NotImplemented: task 1");
  expect_same<simt::LaunchError>(worker, Thrown::kLaunch, "kernel");
  expect_same<Error>(worker, Thrown::kError, "bad value 3");
  expect_same<std::bad_alloc>(worker, Thrown::kMemory, std::bad_alloc().what());
  expect_same<std::length_error>(worker, Thrown::kLength, "l");
  expect_same<std::out_of_range>(worker, Thrown::kRange, "r");
  expect_same<std::invalid_argument>(worker, Thrown::kArgument, "a");
  expect_same<std::logic_error>(worker, Thrown::kLogic, "c");
  expect_same<std::runtime_error>(worker, Thrown::kRuntime, "t");
  expect_same<std::runtime_error>(worker, Thrown::kInt, "something was thrown that is no std::exception");
  expect_same<std::runtime_error>(worker, Thrown::kLong, std::string(64 * 1024, 'x'));
  EXPECT_TRUE(worker->works());
}

void call_it(const std::function<void()>& callback) {
  callback();
}

TEST(RemoteFailures, ExceptionsPassThroughCallbacks) {
  WorkerProcess worker;
  EXPECT_THROW(ask<&call_it>(worker, [] { throw NotImplemented("x"); }), NotImplemented);
  EXPECT_THROW(ask<&call_it>(worker, [&] { ask<&raise_one>(worker, Thrown::kRange); }), std::out_of_range);
  EXPECT_EQ(worker->n_objects(), 0);
  EXPECT_EQ(worker->own_arena().top(), 0);
}

TEST(RemoteFailures, CallsWithinCallsHaveALimit) {
  WorkerProcess worker;
  int deepest = 0;
  std::function<void(int)> nest = [&](int depth) {
    deepest = std::max(deepest, depth);
    ask<&call_it>(worker, [&] { nest(depth + 1); });
  };
  EXPECT_THROW(nest(0), ProtocolError);
  EXPECT_EQ(deepest, 63);
  EXPECT_FALSE(worker->works());
}

void nothing() {}
void take_two(std::span<const float> /*a*/, std::span<const float> /*b*/) {}
std::string sized(std::uint64_t n_bytes) {
  return std::string(n_bytes, 's');
}
std::uint64_t length_of(const std::string& text) {
  return text.size();
}
Tensor<char> sized_tensor(std::int64_t n_bytes) {
  return Tensor<char>({n_bytes});
}

TEST(RemoteFailures, WhatDoesNotFitIsRefusedAndNothingBreaks) {
  WorkerProcess worker;
  // Address space that nobody touches.
  const std::size_t n = std::size_t{3} << 28;  // 3 GiB of floats
  const auto huge = std::make_unique_for_overwrite<float[]>(n);
  EXPECT_THROW(
      ask<&take_two>(worker, std::span<const float>(huge.get(), 16), std::span<const float>(huge.get(), n)),
      Error);
  EXPECT_EQ(worker->own_arena().top(), 0);
  EXPECT_THROW(ask<&length_of>(worker, std::string(std::size_t{17} << 20, 'x')), Error);
  EXPECT_EQ(ask<&length_of>(worker, std::string(std::size_t{15} << 20, 'x')), std::uint64_t{15} << 20);
  EXPECT_THROW(ask<&sized>(worker, std::uint64_t{17} << 20), Error) << "the worker says so";
  EXPECT_THROW(ask<&sized_tensor>(worker, std::int64_t{1} << 30), Error) << "its arena is full";
  ask<&nothing>(worker);
}

void kill_yourself(const std::function<void()>& first) {
  if (first) first();
  ::raise(SIGKILL);
}
void exit_well() {
  ::_exit(0);
}

TEST(RemoteFailures, AWorkerThatEndsIsNoError) {
  const auto expect_ended = [](auto call) {
    try {
      call();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const WorkerEnded& error) {
      EXPECT_TRUE(std::string_view(error.what()).starts_with(WorkerEnded::kPrefix)) << error.what();
    }
  };
  {
    SCOPED_TRACE("in a call");
    WorkerProcess worker;
    expect_ended([&] { ask<&kill_yourself>(worker, nullptr); });
    expect_ended([&] { ask<&nothing>(worker); });
    EXPECT_EQ(worker->n_objects(), 0);
    EXPECT_EQ(WTERMSIG(worker.end()), SIGKILL);
  }
  {
    SCOPED_TRACE("after a callback");
    WorkerProcess worker;
    int n_calls = 0;
    expect_ended([&] { ask<&kill_yourself>(worker, [&] { ++n_calls; }); });
    EXPECT_EQ(n_calls, 1);
  }
  {
    SCOPED_TRACE("in a call from a callback");
    WorkerProcess worker;
    expect_ended([&] { ask<&call_it>(worker, [&] { ask<&exit_well>(worker); }); });
  }
  {
    SCOPED_TRACE("between calls");
    WorkerProcess worker;
    ask<&nothing>(worker);
    ::kill(worker.pid(), SIGKILL);
    int status = 0;
    ::waitpid(worker.pid(), &status, 0);
    expect_ended([&] { ask<&nothing>(worker); });
  }
}

TEST(RemoteFailures, AWorkerThatEndedBeforeTheFirstCallIsNoError) {
  std::array<int, 2> ends = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  ::close(ends[1]);
  // A test that expects kit::Error must not pass on it.
  EXPECT_THROW(Connection::open_checker(ends[0]), WorkerEnded);
}

TEST(RemoteFailures, TheWorkerEndsWellWhenTheCheckerCloses) {
  WorkerProcess worker;
  ask<&nothing>(worker);
  EXPECT_EQ(worker.end(), 0);
}

TEST(RemoteFailures, AnUnknownFunctionIsNamed) {
  WorkerProcess worker;
  try {
    Call<void()>::ask(worker, {.name = "lab09::none"});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find("lab09::none"), std::string_view::npos);
  }
}

TEST(RemoteFailures, CarryingIsNotTheCalleesTimeAndNeverNegative) {
  WorkerProcess worker;
  const std::vector<float> large(std::size_t{1} << 22);
  const double before = work_seconds();
  std::vector<double> inside;
  ask<&call_it>(worker, [&] {
    inside.push_back(work_seconds());
    ask<&take_two>(worker, large, large);
    inside.push_back(work_seconds());
  });
  const double after = work_seconds();
  EXPECT_LE(before, inside[0]);
  EXPECT_LE(inside[0], inside[1]);
  EXPECT_LE(inside[1], after);
}

}  // namespace
}  // namespace kit::remote
