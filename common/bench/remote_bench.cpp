// What a call between two processes costs, and floats in and out through the shared memory against the same
// bytes sent over the socket. The time is the caller's: from its call to its result.
#include <benchmark/benchmark.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "kit/remote/passing.h"

namespace {

using kit::remote::Call;
using kit::remote::Connection;
using Floats = std::vector<float>;
using InOut = void(std::span<float>);
using Inline = Floats(const Floats&);
using CallBack = void(const std::function<void()>&);

// A message holds at most 16 MiB, so larger arrays need several.
constexpr std::size_t kPiece = std::size_t{2} << 20;  // floats: 8 MiB

template <class Signature, class F>
kit::remote::Registration serve(const char* name, F function) {
  return {name, [function](kit::remote::Reader& reader, kit::remote::Writer& writer) {
            Call<Signature>::answer(reader, writer, function);
          }};
}

const kit::remote::Registration kServices[] = {
    serve<void()>("nothing", [] {}),
    serve<CallBack>("call_back", [](const std::function<void()>& callback) { callback(); }),
    serve<InOut>("in_out", [](std::span<float> x) { x[0] += 1; }),
    serve<Inline>("inline", [](const Floats& x) { return x; }),
};

Connection* connection = nullptr;

void empty_call(benchmark::State& state) {
  for (auto _ : state) Call<void()>::ask(*connection, {.name = "nothing"});
}

void empty_call_with_callback(benchmark::State& state) {
  const std::function<void()> callback = [] {};
  for (auto _ : state) Call<CallBack>::ask(*connection, {.name = "call_back"}, callback);
}

std::size_t n_floats(const benchmark::State& state) {
  return static_cast<std::size_t>(state.range(0)) / sizeof(float);
}

void shared_memory(benchmark::State& state) {
  Floats x(n_floats(state), 1.0F);
  for (auto _ : state) Call<InOut>::ask(*connection, {.name = "in_out"}, std::span<float>(x));
  state.SetBytesProcessed(state.iterations() * 2 * state.range(0));
}

void over_the_socket(benchmark::State& state) {
  Floats x(n_floats(state), 1.0F);
  // Pieces are made before the clock runs: the caller could keep its array so.
  std::vector<Floats> pieces;
  for (std::size_t at = 0; at < x.size(); at += kPiece) {
    const std::span<const float> piece = std::span(x).subspan(at, std::min(kPiece, x.size() - at));
    pieces.emplace_back(piece.begin(), piece.end());
  }
  for (auto _ : state) {
    for (Floats& piece : pieces) piece = Call<Inline>::ask(*connection, {.name = "inline"}, piece);
  }
  state.SetBytesProcessed(state.iterations() * 2 * state.range(0));
}

/// The least that a socket can take: as many bytes there and back, no messages.
void bare_socket(benchmark::State& state) {
  std::array<int, 2> ends = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) return state.SkipWithError("no socket pair");
  const auto all = [](int socket, char* data, std::size_t n, bool in) {
    for (std::size_t at = 0; at < n;) {
      const ssize_t moved =
          in ? ::recv(socket, data + at, n - at, 0) : ::send(socket, data + at, n - at, MSG_NOSIGNAL);
      if (moved <= 0) return false;
      at += static_cast<std::size_t>(moved);
    }
    return true;
  };
  const auto n = static_cast<std::size_t>(state.range(0));
  std::vector<char> data(n, 1);
  const int pid = ::fork();
  if (pid == 0) {
    ::close(ends[0]);
    while (all(ends[1], data.data(), n, true) && all(ends[1], data.data(), n, false)) {
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  for (auto _ : state) {
    if (!all(ends[0], data.data(), n, false) || !all(ends[0], data.data(), n, true))
      state.SkipWithError("lost");
  }
  ::close(ends[0]);
  ::waitpid(pid, nullptr, 0);
  state.SetBytesProcessed(state.iterations() * 2 * state.range(0));
}

constexpr std::int64_t kSizes[] = {std::int64_t{1} << 10, std::int64_t{1} << 20, std::int64_t{64} << 20};

void sizes(benchmark::internal::Benchmark* one) {
  for (const std::int64_t n_bytes : kSizes) one->Arg(n_bytes);
  one->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK(empty_call)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(empty_call_with_callback)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(shared_memory)->Apply(sizes);
BENCHMARK(over_the_socket)->Apply(sizes);
BENCHMARK(bare_socket)->Apply(sizes);

}  // namespace

int main(int argc, char** argv) {
  std::array<int, 2> ends = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return 1;
  const int pid = ::fork();
  if (pid == 0) {
    ::close(ends[0]);
    Connection::open_worker(ends[1])->serve();
    ::_exit(0);
  }
  ::close(ends[1]);
  auto checker = Connection::open_checker(ends[0]);
  connection = checker.get();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  checker.reset();
  ::waitpid(pid, nullptr, 0);
  return 0;
}
