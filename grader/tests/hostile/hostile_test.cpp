#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <random>
#include <thread>

#include "../turns.h"
#include "corpus.h"
#include "grader/error.h"
#include "grader/files.h"
#include "grader/rubric.h"
#include "grader/sandbox.h"
#include "supervised.h"

// The run of record against submissions that want more than they earned. For each: it gets the points of what
// is right and none besides, ends in time, leaves no process, file or connection behind, and shows nothing of
// the grader's secrets.

namespace {

namespace fs = std::filesystem;
using hostile::Case;
using hostile::Outcome;
using Json = nlohmann::json;

const fs::path kRoot = KIT_ROOT;
const fs::path kCorpus = kRoot / "grader/tests/hostile";
constexpr double kTestWallSeconds = 5;
constexpr double kUsualWallSeconds = 60;
// Shorter than the grader's own limits, which would keep this corpus busy for an hour.
const std::vector<std::string> kShortLimits = {"--test-cpu-seconds=2",
                                               fmt::format("--test-wall-seconds={}", kTestWallSeconds),
                                               "--compile-cpu-seconds=6", "--compile-wall-seconds=12"};
// What the submissions attack, of a lab that has grown: every test more would be one more to hang.
const std::vector<std::string> kParts = {"attention", "kv_cache", "attention_with_cache", "generate",
                                         "decode_tokens_processed"};
const std::map<std::string, std::string> kReports = {{"--json", "record.json"},
                                                     {"--junit", "junit.xml"},
                                                     {"--html", "record.html"},
                                                     {"--gradescope", "gradescope.json"}};
constexpr double kGraceSeconds = 2;  // after a limit
constexpr double kMaxSeconds = 100;  // of a whole grading

std::string random_hex() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

/// Listens where the sandbox must not reach: a port of this machine and an abstract socket.
class Listeners {
 public:
  Listeners() : name_("kit-listener-" + random_hex()) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    tcp_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::bind(tcp_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(tcp_, 16), 0);
    EXPECT_EQ(::getsockname(tcp_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    sockaddr_un local = {};
    local.sun_family = AF_UNIX;
    std::memcpy(local.sun_path + 1, name_.data(), name_.size());
    local_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const auto local_size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name_.size());
    EXPECT_EQ(::bind(local_, reinterpret_cast<sockaddr*>(&local), local_size), 0);
    EXPECT_EQ(::listen(local_, 16), 0);
  }
  ~Listeners() {
    ::close(tcp_);
    ::close(local_);
  }
  Listeners(const Listeners&) = delete;
  Listeners& operator=(const Listeners&) = delete;

  int port() const { return port_; }
  const std::string& name() const { return name_; }
  bool were_reached() const {
    return ::accept(tcp_, nullptr, nullptr) >= 0 || ::accept(local_, nullptr, nullptr) >= 0;
  }

 private:
  std::string name_;
  int tcp_ = -1;
  int local_ = -1;
  int port_ = 0;
};

/// Comments of the tests and lines of the solutions, which no submission has and no message repeats.
std::vector<std::string> lines_to_hide(const grader::Rubric& lab, bool solution_is_submitted) {
  std::vector<std::string> found;
  const auto collect = [&](const fs::path& folder) {
    for (const auto& file : fs::directory_iterator(folder)) {
      std::ifstream stream(file.path());
      for (std::string line; std::getline(stream, line);) {
        const std::size_t at = line.find("// ");
        const std::string comment = at == std::string::npos ? "" : line.substr(at + 3);
        const bool is_plain = comment.find_first_of("<>&\"'") == std::string::npos;
        if (comment.size() >= 50 && is_plain) found.push_back(comment);
      }
    }
  };
  collect(kRoot / lab.folder / "tests");
  if (!solution_is_submitted) collect(kRoot / "solutions" / lab.folder);
  return found;
}

/// One submission, graded.
struct Graded {
  Outcome outcome;
  Json json;
  std::map<std::string, std::string> files;  // reports by name
};

/// Why no sandbox works here; empty when one does.
const std::string& sandbox_problem() {
  static const std::string problem = []() -> std::string {
    try {
      grader::Sandbox::open(grader::Protection::kBubblewrap);
      return "";
    } catch (const grader::InfrastructureError& error) {
      return error.what();
    }
  }();
  return problem;
}

class Hostile : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { hostile::adopt_orphans(); }

  void SetUp() override {
    if (!sandbox_problem().empty()) GTEST_SKIP() << "no sandbox works here: " << sandbox_problem();
    fs::create_directories(work_.path() / "tmp");
    // Whoever is outside may read the secret: it is the sandbox that must keep it.
    fs::permissions(work_.path(), fs::perms(0755));
    std::ofstream(secret_file_) << canary_ << " first line\n" << canary_ << " second line\n";
  }

  static const grader::Rubric& lab(const std::string& id) {
    static const std::vector<grader::Rubric> labs = grader::load_labs(kRoot);
    for (const grader::Rubric& lab : labs) {
      if (lab.id == id) return lab;
    }
    throw std::runtime_error("no lab " + id);
  }

  static hostile::LabPlace place(const std::string& id) {
    const std::string& folder = lab(id).folder;
    return {folder, kRoot / "solutions" / folder};
  }

  /// What the student hands in.
  fs::path hand_in(const Case& submission) const {
    const hostile::Places places = {{"ROOT", kRoot.string()},
                                    {"BUILD", KIT_BUILD_DIR},
                                    {"SECRET_FILE", secret_file_.string()},
                                    {"PORT", std::to_string(listeners_.port())},
                                    {"SOCKET", listeners_.name()}};
    return hostile::hand_in(submission, kCorpus / submission.name, place(submission.lab), places,
                            work_.path());
  }

  Graded grade(const std::string& lab, const fs::path& submission, bool with_short_limits = true) const {
    const fs::path reports = work_.path() / (submission.filename().string() + "-reports");
    fs::create_directories(reports);
    std::vector<std::string> argv = {GRADER_BINARY, "record", submission.string(), "--lab", lab};
    for (const auto& [option, name] : kReports) argv.insert(argv.end(), {option, (reports / name).string()});
    argv.insert(argv.end(), {"--object-cache", fs::path(KIT_BUILD_DIR) / "record_objects"});
    if (lab == "lab02") {
      for (const std::string& part : kParts) argv.insert(argv.end(), {"--part", part});
    }
    if (with_short_limits) argv.insert(argv.end(), kShortLimits.begin(), kShortLimits.end());
    Graded graded;
    graded.outcome = hostile::run(argv,
                                  {{"KIT_ROOT", KIT_ROOT},
                                   {"KIT_BUILD_DIR", KIT_BUILD_DIR},
                                   {"KIT_QUICK", "1"},
                                   {"KIT_CANARY", canary_},
                                   {"TMPDIR", (work_.path() / "tmp").string()}},
                                  kMaxSeconds);
    for (const auto& file : fs::directory_iterator(reports))
      graded.files[file.path().filename().string()] = grader::read_file(file.path());
    if (graded.files.contains("record.json")) graded.json = Json::parse(graded.files["record.json"]);
    return graded;
  }

  const std::string& canary() const { return canary_; }
  const fs::path& work() const { return work_.path(); }
  const Listeners& listeners() const { return listeners_; }

 private:
  grader::ScratchFolder work_{fs::temp_directory_path() / "kit-record-corpus"};
  std::string canary_ = "KIT-CANARY-" + random_hex();
  fs::path secret_file_ = work_.path() / "secret.txt";
  Listeners listeners_;
};

/// Tests of tasks and of milestones.
std::vector<Json> all_tests(const Json& results) {
  std::vector<Json> tests;
  for (const Json& task : results["tasks"]) {
    for (const Json& test : task["tests"]) tests.push_back(test);
  }
  for (const Json& milestone : results["milestones"]) tests.push_back(milestone["test"]);
  return tests;
}

void expect_points(const Case& submission, const Json& results) {
  const auto expect = [&](const std::string& id, const Json& part) {
    const bool earned = submission.earns.contains(id);
    EXPECT_EQ(part["points"], earned ? part["max_points"] : Json(0)) << id << ": " << part.dump(1);
    // Undecided points are neither earned nor lost: somebody would have to look.
    EXPECT_NE(part["verdict"], "infrastructure_error") << id;
    EXPECT_NE(part["verdict"], "inconclusive") << id;
  };
  for (const Json& task : results["tasks"]) expect(task["task"], task);
  for (const Json& milestone : results["milestones"]) expect(milestone["id"], milestone);
}

void expect_words(const Case& submission, const Json& results) {
  std::string messages;
  std::set<std::string> verdicts;
  for (const Json& test : all_tests(results)) {
    verdicts.insert(test["verdict"]);
    messages += fmt::format("{} {}: {}\n", test["name"].get<std::string>(),
                            test["verdict"].get<std::string>(), test["message"].get<std::string>());
  }
  for (const std::string& phrase : submission.says)
    EXPECT_NE(messages.find(phrase), std::string::npos) << "nothing says '" << phrase << "':\n" << messages;
  if (!submission.verdict.empty()) {
    EXPECT_TRUE(verdicts.contains(submission.verdict)) << messages;
  }
  const std::string refusals = results["record"]["refusals"].dump();
  for (const std::string& phrase : submission.refuses)
    EXPECT_NE(refusals.find(phrase), std::string::npos)
        << "nothing refused says '" << phrase << "': " << refusals;
}

void expect_in_time(const Case& submission, const Outcome& outcome, const Json& results) {
  const double limit = submission.is_patient ? kUsualWallSeconds : kTestWallSeconds;
  EXPECT_LT(outcome.seconds, kMaxSeconds);
  for (const Json& test : all_tests(results))
    EXPECT_LE(test["seconds"].get<double>(), limit + kGraceSeconds) << test["name"];
}

/// Reports are what they should be, whatever the submission wrote.
void expect_sound_reports(Graded& graded) {
  for (const auto& [option, name] : kReports) EXPECT_TRUE(graded.files.contains(name)) << name;
  EXPECT_TRUE(Json::accept(graded.files["gradescope.json"]));
  for (const char* name : {"junit.xml", "record.html"})
    EXPECT_TRUE(pugi::xml_document().load_string(graded.files[name].c_str())) << name;
  EXPECT_EQ(graded.files["record.html"].find("<script"), std::string::npos);
  graded.files["terminal"] = graded.outcome.output;
  for (const auto& [name, text] : graded.files) {
    EXPECT_LT(text.size(), std::size_t{4} << 20) << name;
    EXPECT_EQ(text.find('\x1b'), std::string::npos) << "an escape sequence in " << name;
  }
}

void expect_secrets_kept(const Graded& graded, const std::vector<std::string>& secrets) {
  for (const auto& [name, text] : graded.files) {
    for (const std::string& secret : secrets)
      EXPECT_EQ(text.find(secret), std::string::npos) << name << " shows '" << secret << "'";
  }
}

/// Folders in which something could be left behind. Others write to the shared ones, too: there, what our
/// submissions name.
const std::vector<hostile::Watched> kShared = {
    {"/tmp", false}, {"/var/tmp", false}, {"/run", false}, {kRoot, false}, {KIT_BUILD_DIR, false}};

std::vector<std::string> leftovers(const hostile::Snapshot& before, const hostile::Snapshot& after) {
  const auto is_shared = [](const std::string& difference) {
    return std::ranges::any_of(kShared, [&](const hostile::Watched& watched) {
      return fs::path(difference.substr(difference.find('/'))).parent_path() == watched.folder;
    });
  };
  std::vector<std::string> found;
  for (const std::string& difference : hostile::differences(before, after)) {
    if (!is_shared(difference) || difference.find("kit-hostile") != std::string::npos)
      found.push_back(difference);
  }
  return found;
}

/// The whole corpus takes four minutes on two cores.
bool is_its_day(const std::string& name) {
  const std::vector<std::string> names = hostile::case_names(kCorpus);
  return grader_tests::has_its_turn(static_cast<std::size_t>(std::ranges::find(names, name) - names.begin()));
}

class Corpus : public Hostile, public ::testing::WithParamInterface<std::string> {};

TEST_P(Corpus, EarnsNothingUnearned) {
  if (!is_its_day(GetParam())) GTEST_SKIP() << "its turn is tomorrow; in ./kit test --long it is every day's";
  const Case submission = hostile::read_case(kCorpus / GetParam());
  const grader::Rubric& lab = Hostile::lab(submission.lab);
  SCOPED_TRACE(submission.description);
  const fs::path handed_in = hand_in(submission);
  std::vector<hostile::Watched> watched = {{"/dev/shm"},
                                           {work() / "tmp"},
                                           {kRoot / "solutions"},
                                           {kRoot / lab.folder},
                                           {fs::path(KIT_BUILD_DIR) / "grading"}};
  watched.insert(watched.end(), kShared.begin(), kShared.end());
  const hostile::Snapshot before = hostile::snapshot(watched);
  Graded graded = grade(submission.lab, handed_in, !submission.is_patient);
  EXPECT_EQ(graded.outcome.survivors, std::vector<std::string>());
  EXPECT_EQ(graded.outcome.cgroups, std::vector<std::string>());
  EXPECT_EQ(leftovers(before, hostile::snapshot(watched)), std::vector<std::string>());
  EXPECT_FALSE(listeners().were_reached()) << "somebody connected from inside the sandbox";

  ASSERT_EQ(graded.outcome.exit_code, 0) << graded.outcome.output;
  ASSERT_TRUE(graded.json.is_object()) << graded.outcome.output;
  expect_points(submission, graded.json);
  expect_words(submission, graded.json);
  expect_in_time(submission, graded.outcome, graded.json);
  expect_sound_reports(graded);
  std::vector<std::string> secrets = lines_to_hide(lab, submission.on_solution);
  secrets.push_back(canary());
  secrets.insert(secrets.end(), submission.never.begin(), submission.never.end());
  expect_secrets_kept(graded, secrets);
}

INSTANTIATE_TEST_SUITE_P(All, Corpus, ::testing::ValuesIn(hostile::case_names(kCorpus)),
                         [](const auto& info) { return info.param; });

class Neighbour : public Hostile {};

TEST_F(Neighbour, KeepsItsFullScoreBesideABombAndAHog) {
  Case honest;
  honest.name = "honest";
  honest.on_solution = true;
  fs::create_directories(work() / "empty");
  const fs::path solution = hostile::hand_in(honest, work() / "empty", place("lab02"), {}, work());
  std::vector<fs::path> nasty;
  for (const char* name : {"fork_bomb", "processes_allocate"})
    nasty.push_back(hand_in(hostile::read_case(kCorpus / name)));

  std::atomic<bool> done = false;
  std::atomic<int> n_nasty = 0;
  std::jthread neighbour([&] {
    while (!done) {
      for (const fs::path& submission : nasty)
        n_nasty += grade("lab02", submission).outcome.exit_code == 0 ? 1 : 0;
    }
  });
  const Graded graded = grade("lab02", solution, /*with_short_limits=*/false);
  done = true;
  neighbour.join();
  ASSERT_EQ(graded.outcome.exit_code, 0) << graded.outcome.output;
  EXPECT_EQ(graded.json["score"], graded.json["max_score"]) << graded.json.dump(1);
  EXPECT_GE(n_nasty, 2) << "the nasty submissions were not graded meanwhile";
}

}  // namespace
