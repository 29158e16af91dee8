// The CUDA back end between processes: device memory, profiles and options of a worker. The checker's
// connection is one a process, so every test has a process of its own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "hostile_worker.h"
#include "kit/cuda/device_buffer.h"
#include "kit/remote/passing.h"
#include "kit/simt/profile.h"

namespace kit::remote {
namespace {

/// Runs `body` in a child process, whose connection is `socket`; whether no expectation failed there.
bool passes_in_child(int socket, const std::function<void()>& body) {
  const int pid = ::fork();
  if (pid == 0) {
    ::setenv("KIT_WORKER_SOCKET", std::to_string(socket).c_str(), 1);
    try {
      body();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    std::fflush(nullptr);
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  ::close(socket);
  int status = -1;
  ::waitpid(pid, &status, 0);
  return status == 0;
}

std::array<int, 2> socket_pair() {
  std::array<int, 2> ends = {-1, -1};
  KIT_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "no socket pair");
  return ends;
}

/// Runs `body` beside the program kit_remote_simt_worker; whether both ended well.
bool passes_with_worker(const std::function<void()>& body) {
  const std::array<int, 2> ends = socket_pair();
  const int worker = ::fork();
  if (worker == 0) {
    constexpr int kSocket = 3;  // as worker_main.cpp has it
    if (ends[1] == kSocket) {
      ::fcntl(kSocket, F_SETFD, 0);
    } else {
      ::dup2(ends[1], kSocket);
    }
    ::execl(KIT_REMOTE_SIMT_WORKER, KIT_REMOTE_SIMT_WORKER, nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  const bool passed = passes_in_child(ends[0], body);
  int status = -1;
  ::waitpid(worker, &status, 0);
  return passed && status == 0;
}

/// Runs `body` with a worker that has said `bytes` in advance.
bool passes_with_answers(const Bytes& bytes, const std::function<void()>& body) {
  const std::array<int, 2> ends = socket_pair();
  KIT_CHECK(::send(ends[1], bytes.text().data(), bytes.text().size(), 0) > 0, "nothing said");
  ::shutdown(ends[1], SHUT_WR);
  const bool passed = passes_in_child(ends[0], body);
  ::close(ends[1]);
  return passed;
}

void copy(TensorView<const float> in, TensorView<float> out) {
  Call<void(TensorView<const float>, TensorView<float>, int)>::ask(Connection::of_checker(), {.name = "copy"},
                                                                   in, out, 4);
}

TEST(RemoteSimt, KernelsRunInTheWorker) {
  EXPECT_TRUE(passes_with_worker([] {
    std::vector<float> numbers(1024);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
    DeviceBuffer<float> in{std::span<const float>(numbers)};
    DeviceBuffer<float> out(1024);
    out.fill_bytes(0);
    const auto launches = simt::profile([&] { copy(in.view({1024}), out.view({1024})); });
    EXPECT_EQ(out.to_host(), numbers);
    ASSERT_EQ(launches.size(), 1);
    // 1024 floats are 32 requests of 4 sectors.
    EXPECT_EQ(launches[0].total(simt::Space::kGlobal, simt::Access::kLoad).requests, 32);
    EXPECT_EQ(launches[0].total(simt::Space::kGlobal, simt::Access::kStore).sectors, 128);
    // A view of a part.
    copy({in.data() + 512, {256}}, {out.data(), {256}});
    EXPECT_EQ(out.to_host()[255], 767.0F);
  }));
}

TEST(RemoteSimt, OptionsCross) {
  EXPECT_TRUE(passes_with_worker([] {
    DeviceBuffer<float> in(1024);
    in.fill_bytes(0);
    DeviceBuffer<float> out(1024);
    const auto n_reports = [&] {
      return simt::profile([&] { copy(in.view({1024}), out.view({1024})); }).size();
    };
    simt::Options untraced = simt::options();
    untraced.trace = false;
    {
      const simt::ScopedOptions scope(untraced);
      EXPECT_EQ(n_reports(), 0);
    }
    EXPECT_EQ(n_reports(), 1);
  }));
}

TEST(RemoteSimt, HostMemoryIsNoDeviceMemory) {
  EXPECT_TRUE(passes_with_worker([] {
    float host = 1;
    DeviceBuffer<float> device(1);
    EXPECT_THROW(cuda::copy_to_device(&host, &host, sizeof(host)), Error);
    EXPECT_THROW(cuda::copy_to_host(&host, &host, sizeof(host)), Error);
    EXPECT_THROW(cuda::device_fill(nullptr, 0, 4), Error);
  }));
}

struct Odd : std::runtime_error {
  using std::runtime_error::runtime_error;
};

TEST(RemoteSimt, AProfilesExceptionKeepsItsType) {
  EXPECT_TRUE(passes_with_worker([] {
    EXPECT_THROW(simt::profile([] { throw Odd("x"); }), Odd);
    EXPECT_THROW(simt::profile([] { throw NotImplemented("x"); }), NotImplemented);
    EXPECT_TRUE(simt::profile([] {}).empty());
  }));
}

TEST(RemoteSimt, BuffersMayOutliveTheWorker) {
  EXPECT_TRUE(passes_with_worker([] {
    DeviceBuffer<float> buffer(4);
    const simt::ScopedOptions scope(simt::options());
    EXPECT_THROW(Call<void()>::ask(Connection::of_checker(), {.name = "exit"}), WorkerEnded);
    EXPECT_THROW(buffer.to_host(), WorkerEnded);
  }));
}

// The profile's body is the first object, an empty list of launches the answer.
Bytes no_launches() {
  return returns(Bytes() << std::uint64_t{0});
}

TEST(RemoteSimt, AProfileRunsItsBodyOnce) {
  EXPECT_TRUE(passes_with_answers(no_launches(), [] { EXPECT_THROW(simt::profile([] {}), ProtocolError); }));
  Bytes twice;
  twice << calls(1, 0, {}) << calls(1, 0, {}) << no_launches();
  EXPECT_TRUE(passes_with_answers(twice, [] {
    int n_runs = 0;
    EXPECT_THROW(simt::profile([&] { ++n_runs; }), ProtocolError);
    EXPECT_EQ(n_runs, 1);
  }));
}

TEST(RemoteSimt, AnExceptionOfAProfileCannotBeHidden) {
  Bytes hides;
  hides << calls(1, 0, {}) << no_launches();
  EXPECT_TRUE(passes_with_answers(hides, [] { EXPECT_THROW(simt::profile([] { throw Odd("x"); }), Odd); }));
}

TEST(RemoteSimt, AnOptionThatIsRefusedDoesNotEndTheChecker) {
  Bytes refuses;
  refuses << throws(2, "no") << throws(0, "no") << returns({});
  EXPECT_TRUE(passes_with_answers(refuses, [] {
    { const simt::ScopedOptions scope(simt::options()); }
    EXPECT_NO_THROW(Call<void()>::ask(Connection::of_checker(), {.name = "x"}));
  }));
}

TEST(RemoteSimt, AFreeThatFailsDoesNotEndTheChecker) {
  Bytes fails;
  fails << returns(Bytes() << std::numeric_limits<std::uint64_t>::max()) << throws(3, "no") << returns({});
  EXPECT_TRUE(passes_with_answers(fails, [] {
    { const DeviceBuffer<float> buffer(4); }
    EXPECT_NO_THROW(Call<void()>::ask(Connection::of_checker(), {.name = "x"}));
  }));
}

TEST(RemoteSimt, AWorkerThatEndedAtOnceIsNoError) {
  const std::array<int, 2> ends = socket_pair();
  ::close(ends[1]);
  EXPECT_TRUE(passes_in_child(ends[0], [] {
    // Twice: the socket's number may be another file's by then.
    EXPECT_THROW(DeviceBuffer<float>(4), WorkerEnded);
    EXPECT_THROW(DeviceBuffer<float>(4), WorkerEnded);
  }));
}

/// Destroyed after everything that main() made.
std::vector<DeviceBuffer<float>> at_exit;  // NOLINT(cert-err58-cpp)

TEST(RemoteSimt, BuffersWithStaticStorageAreFreedAtTheEnd) {
  EXPECT_TRUE(passes_with_worker([] {
    at_exit.emplace_back(4);
    std::exit(::testing::Test::HasFailure() ? 1 : 0);  // NOLINT(concurrency-mt-unsafe)
  }));
}

}  // namespace
}  // namespace kit::remote
