#include "grader/record_build.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "../src/record_build_plan.h"
#include "../src/record_build_view.h"
#include "grader/error.h"
#include "grader/files.h"
#include "grader/process.h"

// Longer than other files: all tests need the same small tree, as CMake would have configured it.

namespace {

namespace fs = std::filesystem;

constexpr const char* kCanary = "CANARY_7d1f";

constexpr const char* kOne =
    "#include \"lab/lab.h\"\nnamespace lab { int one() { return 1 + kit::twice(20); } }\n";
constexpr const char* kKernel =
    "#include \"lab/lab.h\"\nnamespace lab { int kernel() { return kit::counter(); }\n"
    "const char* file() { return __FILE__; } }\n";

void write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

/// A tree of two labs with a kit, as CMake would have configured it, whose parts are built.
class WorkerTree {
 public:
  WorkerTree() {
    // Programs in a sandbox are other users and find their files by their path.
    fs::permissions(folder_.path(), fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec);
    write(root() / "common/include/kit/kit.h",
          "#pragma once\nnamespace kit { int counter(); template <class T> T twice(T x) { return x + x; }\n"
          "inline int inlined() { return 1; }\n"
          "struct Model { virtual ~Model() = default; virtual int run() { return 0; } }; }\n");
    write(root() / "common/src/kit.cpp", "#include \"kit/kit.h\"\nint kit::counter() { return 7; }\n");
    write(root() / "common/src/main.cpp",
          "#include \"lab/lab.h\"\n#include <cstdio>\n"
          "int main() { std::printf(\"%d %d %s\\n\", lab::one(), lab::kernel(), lab::file()); }\n");
    write(top() / "secret", kCanary);
    for (const std::string lab : {"lab01_one", "lab02_two"}) add_lab(lab);
    ninja_ += fmt::format(
        "build common/kit.o: cxx {0}/common/src/kit.cpp\nbuild common/libkit.a: ar common/kit.o\n",
        root().string());
    write(build_dir() / "build.ninja", ninja_);
    write(build_dir() / "CMakeCache.txt",
          "CMAKE_MAKE_PROGRAM:FILEPATH=ninja\nCMAKE_NM:FILEPATH=/usr/bin/nm\n");
    grader::Command command;
    command.argv = {"ninja",           "-C", build_dir().string(), "common/libkit.a", "lab01_one/main.o",
                    "lab02_two/main.o"};
    const auto built = grader::run_process(command);
    if (!built.succeeded()) throw std::runtime_error(built.output);
  }

  const fs::path& top() const { return folder_.path(); }
  fs::path root() const { return top() / "tree"; }
  fs::path build_dir() const { return root() / "build"; }
  fs::path staging() const { return top() / "staging"; }
  fs::path src(const std::string& lab) const { return staging() / lab / "src"; }

  void replace_in_ninja(const std::string& from, const std::string& to) {
    const std::size_t at = ninja_.find(from);
    ninja_.replace(at, from.size(), to);
    write(build_dir() / "build.ninja", ninja_);
  }

  std::vector<grader::WorkerBuild> build(const grader::Sandbox& sandbox, const fs::path& object_cache = {}) {
    std::vector<grader::Rubric> labs(2);
    labs[0].id = "lab01";
    labs[0].folder = "lab01_one";
    labs[1].id = "lab02";
    labs[1].folder = "lab02_two";
    // A bomb must go off sooner than in earnest.
    grader::SandboxLimits limits = grader::compiler_limits();
    limits.cpu_seconds = 4;
    limits.memory_bytes = std::int64_t{512} << 20;
    limits.address_space_bytes = limits.memory_bytes;
    scratch_ = std::make_unique<grader::ScratchFolder>(top() / "scratch");
    fs::permissions(top() / "scratch", fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec);
    grader::Progress progress;
    const grader::BuildTree tree(root(), build_dir());
    return grader::build_workers(tree, labs, staging(), scratch_->path(), sandbox, progress, limits,
                                 object_cache);
  }

 private:
  void add_lab(const std::string& lab) {
    const std::string folder = (root() / lab).string();
    write(folder + "/include/lab/lab.h",
          "#pragma once\n#include \"kit/kit.h\"\nnamespace lab { int one(); int kernel(); const char* "
          "file(); }\n");
    write(folder + "/tests/secret.h", fmt::format("#define SECRET \"{}\"\nint {};\n", kCanary, kCanary));
    write(root() / "solutions" / lab / "one.cpp", fmt::format("int {}() {{ return 0; }}\n", kCanary));
    for (const fs::path& src : {fs::path(folder) / "src", staging() / lab / "src"}) {
      write(src / "one.cpp", kOne);
      write(src / "kernel.cu", kKernel);
    }
    const std::string wrapper =
        fmt::format("{}/{}/{}_student_kernels/kernel.cu.cpp", build_dir().string(), lab, lab.substr(0, 5));
    write(wrapper, fmt::format("#include \"{}/src/kernel.cu\"\n", folder));
    if (ninja_.empty()) {
      ninja_ = fmt::format(
          "rule cxx\n  command = /usr/bin/c++ -I$lab/include -I{0}/common/include -O1 -g "
          "-fmacro-prefix-map={0}/= -std=c++20 -MD -MT $out -MF $out.d -o $out -c $in\n"
          "rule ar\n  command = : && rm -f $out && /usr/bin/ar qc $out $in && :\n"
          "rule link\n  command = : && /usr/bin/c++ -O1 -g $in -o $out && :\n",
          root().string());
    }
    ninja_ += fmt::format(
        "build {0}/one.o: cxx {1}/src/one.cpp\n  lab = {1}\nbuild {0}/kernel.o: cxx {2}\n  lab = {1}\n"
        "build {0}/main.o: cxx {3}/common/src/main.cpp\n  lab = {1}\n"
        "build {0}/libkernels.a: ar {0}/kernel.o\n"
        "build {0}/{4}_worker_student: link {0}/main.o {0}/one.o {0}/libkernels.a common/libkit.a\n"
        "build {4}_worker_student: phony {0}/{4}_worker_student\n",
        lab, folder, wrapper, root().string(), lab.substr(0, 5));
  }

  grader::ScratchFolder folder_{fs::temp_directory_path()};
  std::unique_ptr<grader::ScratchFolder> scratch_;
  std::string ninja_;
};

std::string output_of(const fs::path& program) {
  grader::Command command;
  command.argv = {program.string()};
  command.limits.wall_seconds = 10;
  return grader::run_process(command).output;
}

class WorkerBuildTest : public testing::TestWithParam<grader::Protection> {
 protected:
  void SetUp() override {
    try {
      sandbox_ = grader::Sandbox::open(GetParam());
    } catch (const grader::InfrastructureError& error) {
      GTEST_SKIP() << error.what();
    }
  }

  std::vector<grader::WorkerBuild> build() { return tree_.build(*sandbox_); }

  /// Builds with `text` as lab01's `file`; the other lab must not notice.
  grader::WorkerBuild build_with(const std::string& text, const std::string& file = "one.cpp") {
    write(tree_.src("lab01_one") / file, text);
    const auto builds = build();
    EXPECT_EQ(builds.at(1).verdict, grader::Verdict::kPassed) << builds[1].message;
    EXPECT_EQ(output_of(builds[1].program), "41 7 lab02_two/src/kernel.cu\n");
    const grader::WorkerBuild& built = builds[0];
    EXPECT_EQ(built.program.empty(), built.verdict != grader::Verdict::kPassed);
    EXPECT_EQ(built.message.find(kCanary), std::string::npos) << built.message;
    // Unless the submission wrote the path itself.
    const bool knows_path = text.find(tree_.top().string()) != std::string::npos;
    EXPECT_TRUE(knows_path || built.message.find(tree_.top().string()) == std::string::npos) << built.message;
    EXPECT_LE(built.message.size(), 2100U);
    return built;
  }

  WorkerTree tree_;
  std::shared_ptr<const grader::Sandbox> sandbox_;
};

INSTANTIATE_TEST_SUITE_P(, WorkerBuildTest,
                         testing::Values(grader::Protection::kBubblewrap, grader::Protection::kNone),
                         [](const auto& info) {
                           return info.param == grader::Protection::kNone ? "Bare" : "Sandboxed";
                         });

/// What only a real sandbox can hold back.
class HostileSourceTest : public WorkerBuildTest {};
INSTANTIATE_TEST_SUITE_P(, HostileSourceTest, testing::Values(grader::Protection::kBubblewrap),
                         [](const auto&) { return "Sandboxed"; });

TEST_P(WorkerBuildTest, HonestSourcesMakeAWorker) {
  const auto builds = build();
  ASSERT_EQ(builds.size(), 2U);
  for (const grader::WorkerBuild& built : builds) {
    ASSERT_EQ(built.verdict, grader::Verdict::kPassed) << built.message;
    EXPECT_EQ(built.message, "");
    EXPECT_EQ(built.program.filename(), built.lab + "_worker");
  }
  EXPECT_EQ(output_of(builds[0].program), "41 7 lab01_one/src/kernel.cu\n");
}

TEST_P(WorkerBuildTest, TheSubmissionIsBuiltAndNotTheTree) {
  const grader::WorkerBuild built =
      build_with("#include \"lab/lab.h\"\nnamespace lab { int one() { return 1234; } }\n");
  EXPECT_EQ(output_of(built.program), "1234 7 lab01_one/src/kernel.cu\n");
  write(tree_.src("lab01_one") / "kernel.cu",
        "#include \"lab/lab.h\"\nnamespace lab { int kernel() { return 99; }\nconst char* file() { return "
        "\"k\"; } }");
  EXPECT_EQ(output_of(build()[0].program), "1234 99 k\n");
}

TEST_P(WorkerBuildTest, AFileIsCompiledAgainOnlyWhenItsInputsChanged) {
  const fs::path cache = tree_.top() / "objects";
  const auto n_entries = [&] { return std::distance(fs::directory_iterator(cache), {}); };
  const auto output = [&](std::size_t lab) {
    return output_of(tree_.build(*sandbox_, cache).at(lab).program);
  };
  const auto built_by = [](int n) {
    return fmt::format("#include \"lab/lab.h\"\nnamespace lab {{ int one() {{ return {}; }} }}\n", n);
  };
  EXPECT_EQ(output(0), "41 7 lab01_one/src/kernel.cu\n");
  EXPECT_EQ(n_entries(), 4) << "two files of two labs";
  EXPECT_EQ(output(0), "41 7 lab01_one/src/kernel.cu\n");
  EXPECT_EQ(n_entries(), 4);
  // Another file of the lab changes: this one alone is compiled.
  write(tree_.src("lab01_one") / "one.cpp", built_by(5));
  EXPECT_EQ(output(0), "5 7 lab01_one/src/kernel.cu\n");
  EXPECT_EQ(n_entries(), 5);
  // The object is what is used: exchange it, and the old source has the new object's answer.
  const fs::path of_five = [&] {
    for (const auto& entry : fs::directory_iterator(cache))
      if (grader::read_file(entry.path() / "inputs").find("return 5;") != std::string::npos)
        return entry.path();
    return fs::path();
  }();
  write(tree_.src("lab01_one") / "one.cpp", built_by(6));
  EXPECT_EQ(output(0), "6 7 lab01_one/src/kernel.cu\n");
  for (const auto& entry : fs::directory_iterator(cache)) {
    if (grader::read_file(entry.path() / "inputs").find("return 6;") == std::string::npos) continue;
    fs::copy_file(of_five / "object", entry.path() / "object", fs::copy_options::overwrite_existing);
  }
  EXPECT_EQ(output(0), "5 7 lab01_one/src/kernel.cu\n");
}

TEST_P(WorkerBuildTest, FilesThatIncludeOthersDependOnThem) {
  const fs::path cache = tree_.top() / "objects";
  const auto output_with = [&](int n) {
    write(tree_.src("lab01_one") / "kernel.cu",
          fmt::format(
              "#include \"lab/lab.h\"\n#ifdef FROM_ONE\nstatic int inner() {{ return {}; }}\n#else\n"
              "namespace lab {{ int kernel() {{ return 7; }} const char* file() {{ return \"k\"; }} }}\n"
              "#endif\n",
              n));
    return output_of(tree_.build(*sandbox_, cache).at(0).program);
  };
  write(tree_.src("lab01_one") / "one.cpp",
        "#define FROM_ONE\n#include \"kernel.cu\"\nnamespace lab { int one() { return inner(); } }\n");
  EXPECT_EQ(output_with(3), "3 7 k\n");
  EXPECT_EQ(output_with(4), "4 7 k\n") << "one.cpp includes kernel.cu";
}

TEST_P(WorkerBuildTest, AHeaderOfTheKitChangesEverything) {
  const fs::path cache = tree_.top() / "objects";
  EXPECT_EQ(output_of(tree_.build(*sandbox_, cache).at(0).program), "41 7 lab01_one/src/kernel.cu\n");
  const fs::path header = tree_.root() / "common/include/kit/kit.h";
  std::string text = grader::read_file(header);
  text.replace(text.find("x + x"), 5, "x * x");
  write(header, text);
  EXPECT_EQ(output_of(tree_.build(*sandbox_, cache).at(0).program), "401 7 lab01_one/src/kernel.cu\n");
}

TEST_P(WorkerBuildTest, TheTreeStaysAsItIs) {
  const auto listing = [&] {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(tree_.root()))
      names.push_back(entry.path().string());
    std::sort(names.begin(), names.end());
    return names;
  };
  const auto before = listing();
  build();
  EXPECT_EQ(listing(), before);
}

TEST_P(WorkerBuildTest, ErrorsAreTheCompilersWords) {
  const grader::WorkerBuild built = build_with("int a;\n#error no luck today\n");
  EXPECT_EQ(built.verdict, grader::Verdict::kFailed);
  // g++ repeats the directive, clang does not.
  const std::string start = "lab01_one/src/one.cpp:2:2: error: ";
  EXPECT_TRUE(built.message == start + "#error no luck today" || built.message == start + "no luck today")
      << built.message;
  const grader::WorkerBuild kernel = build_with("#error no luck today\n", "kernel.cu");
  EXPECT_NE(kernel.message.find("lab01_one/src/kernel.cu:1:2: error: "), std::string::npos) << kernel.message;
}

TEST_P(WorkerBuildTest, AFunctionThatIsNotThereIsTheLinkersWord) {
  const grader::WorkerBuild built = build_with("// nothing\n");
  EXPECT_EQ(built.verdict, grader::Verdict::kFailed);
  EXPECT_NE(built.message.find("undefined reference to `lab::one()'"), std::string::npos) << built.message;
}

TEST_P(WorkerBuildTest, NamesOfTheKitAndTheSystemAreRefused) {
  const std::vector<std::pair<std::string, std::string>> attempts = {
      {"namespace kit { int counter() { return 0; } }", "kit::counter()"},
      {"namespace kit { __attribute__((weak)) int counter() { return 0; } }", "kit::counter()"},
      {"extern \"C\" int alias() asm(\"_ZN3kit7counterEv\"); int alias() { return 0; }", "kit::counter()"},
      {"namespace kit { int unheard_of = 1; }", "kit::unheard_of"},
      {"namespace testing { void Fail() {} }", "testing::Fail()"},
      {"namespace lab01_tests { int x() { return 0; } }", "lab01_tests::x()"},
      {"namespace kit { template <> int twice(int x) { return x; } }", "int kit::twice<int>(int)"},
      {"int main() { return 0; }", "main"},
      {"extern \"C\" void* malloc(unsigned long) { return nullptr; }", "malloc"},
      {"extern \"C\" __attribute__((weak)) int memcmp(const void*, const void*, unsigned long) { return 0; }",
       "memcmp"},
      {"extern \"C\" int clock_gettime(int, void*) { return 0; }", "clock_gettime"},
      {"void* operator new(unsigned long) { __builtin_trap(); }", "operator new(unsigned long)"},
      {"void operator delete(void*) noexcept {}", "operator delete(void*)"},
      {"extern \"C\" void __tsan_read4(void*) {}", "__tsan_read4"},
      {"extern \"C\" void kit_hook() {}", "kit_hook"},
      {"asm(\".globl kit_x\\nkit_x: nop\");", "kit_x"},
  };
  for (const auto& [text, name] : attempts) {
    write(tree_.src("lab01_one") / "one.cpp", fmt::format("#include \"kit/kit.h\"\n{}\n", text));
    const grader::WorkerBuild built = build()[0];
    EXPECT_EQ(built.verdict, grader::Verdict::kFailed) << text;
    EXPECT_TRUE(built.program.empty()) << text;
    EXPECT_TRUE(built.message.starts_with(fmt::format("src/one.cpp defines {}, which is the ", name)))
        << text << "\n"
        << built.message;
    EXPECT_TRUE(built.message.ends_with("a submission may define only its own names")) << built.message;
  }
}

TEST_P(WorkerBuildTest, TemplatesAndInlineFunctionsOfTheKitAreFine) {
  const grader::WorkerBuild built = build_with(
      "#include \"lab/lab.h\"\n#include <string>\n#include <vector>\n"
      "struct Mine : kit::Model { int run() override { return kit::twice(3L) + kit::inlined(); } };\n"
      "template int kit::twice<int>(int);\nstatic int malloc_count = 1; double gamma_value = malloc_count;\n"
      "namespace lab { int one() { Mine mine; kit::Model base; std::vector<std::string> v(5);\n"
      "  return mine.run() + base.run() + int(v.size()); } }\n");
  EXPECT_EQ(built.verdict, grader::Verdict::kPassed) << built.message;
}

TEST_P(WorkerBuildTest, AStubThatDoesNotCompileIsTheKitsFault) {
  write(tree_.src("lab01_one") / "one.cpp", "#include \"kit/missing.h\"\n");
  write(tree_.root() / "lab01_one/src/one.cpp", "#include \"kit/missing.h\"\n");
  EXPECT_THROW(build(), grader::InfrastructureError);
}

TEST_P(WorkerBuildTest, WhatTheKitLacksIsTheKitsFault) {
  fs::remove(tree_.build_dir() / "common/libkit.a");
  EXPECT_THROW(build(), grader::InfrastructureError);
  tree_.replace_in_ninja("build lab02_worker_student: phony", "build other: phony");
  EXPECT_THROW(build(), grader::InfrastructureError);
}

TEST_P(WorkerBuildTest, IncludeFoldersMayNotShowTheTree) {
  tree_.replace_in_ninja("-I$lab/include", "-I$lab/include -I$lab");
  EXPECT_THROW(build(), grader::InfrastructureError);
}

TEST_P(WorkerBuildTest, ManyErrorsAreFew) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += fmt::format("#error {} {}\n", i, std::string(500, 'x'));
  const grader::WorkerBuild built = build_with(text);
  EXPECT_EQ(built.verdict, grader::Verdict::kFailed);
  EXPECT_NE(built.message.find("one.cpp:1:2: error: "), std::string::npos);
}

TEST_P(HostileSourceTest, FilesOfTheTreeAndTheHostAreNotThere) {
  const std::string root = tree_.root().string();
  const std::vector<std::string> files = {root + "/lab01_one/tests/secret.h",
                                          root + "/lab02_two/tests/secret.h",
                                          root + "/solutions/lab01_one/one.cpp",
                                          root + "/common/src/kit.cpp",
                                          "../tests/secret.h",
                                          "../../solutions/lab01_one/one.cpp",
                                          tree_.top().string() + "/secret",
                                          root + "/build/build.ninja",
                                          root + "/build/CMakeCache.txt",
                                          "/etc/passwd",
                                          "/etc/shadow",
                                          "/root/.bashrc",
                                          "/proc/1/environ"};
  for (const std::string& file : files) {
    const grader::WorkerBuild included = build_with(fmt::format("#include \"{}\"\n", file));
    EXPECT_EQ(included.verdict, grader::Verdict::kFailed) << file;
    const bool is_process = file.starts_with("/proc");
    EXPECT_TRUE(is_process || included.message.find("No such file") != std::string::npos ||
                included.message.find("file not found") != std::string::npos)
        << file << "\n"
        << included.message;
    if (is_process) continue;
    // The assembler looks from the build folder.
    const grader::WorkerBuild embedded =
        build_with(fmt::format("asm(\".data\\n.incbin \\\"{}\\\"\\n.text\");\n", file));
    EXPECT_EQ(embedded.verdict, grader::Verdict::kFailed) << file;
  }
}

TEST_P(HostileSourceTest, ABombCostsItsLabAlone) {
  struct Bomb {
    const char* name;
    const char* text;
    const char* message;
  };
  constexpr const char* kLimit = "the compiler used up its limit of ";
  const std::vector<Bomb> bombs = {
      {"endless device", "#include \"/dev/zero\"\n", kLimit},
      {"random device", "#include \"/dev/urandom\"\n", kLimit},
      {"templates",
       "template <int N, int M> struct F { enum { v = int(F<N - 1, 2 * M>::v) + int(F<N - 1, 2 * M + 1>::v) "
       "}; };\n"
       "template <int M> struct F<0, M> { enum { v = M }; };\nint x = F<28, 0>::v;\n",
       kLimit},
      {"warnings without end",
       "template <int N, int M> struct F { enum { v = F<N - 1, 2 * M>::v + F<N - 1, 2 * M + 1>::v }; };\n"
       "template <int M> struct F<0, M> { enum { v = M }; };\nint x = F<28, 0>::v;\n",
       kLimit},
      {"giant output", "asm(\".data\\n.space 2000000000\\n\");\n", kLimit},
      {"giant array", "char x[2000000000] = {1};\n", kLimit},
      {"assembler loop", "asm(\".rept 2000000000\\nnop\\n.endr\");\n", kLimit},
      // The compiler has limits of its own for these.
      {"includes itself", "#include \"one.cpp\"\n#include \"one.cpp\"\n", "nested depth"},
      {"recursion", "template <int N> struct R { R<N + 1> next; };\nR<0> r;\n", "lab01_one/src/one.cpp:1:"},
      {"loop", "constexpr int f() { int i = 0; for (;;) ++i; return i; }\nconstexpr int x = f();\n",
       "constexpr"},
  };
  for (const Bomb& bomb : bombs) {
    const grader::WorkerBuild built = build_with(bomb.text);
    EXPECT_NE(built.verdict, grader::Verdict::kPassed) << bomb.name;
    EXPECT_NE(built.message.find(bomb.message), std::string::npos) << bomb.name << ": " << built.message;
    RecordProperty(bomb.name, std::string(grader::verdict_name(built.verdict)) + ": " + built.message);
  }
}

TEST_P(HostileSourceTest, ALimitIsNamed) {
  const grader::WorkerBuild built = build_with("asm(\".data\\n.space 2000000000\\n\");\n");
  EXPECT_EQ(built.verdict, grader::Verdict::kCrashed);
  EXPECT_EQ(built.message, "the compiler used up its limit of 64 MiB of output on src/one.cpp");
}

TEST_P(HostileSourceTest, AMacroFloodIsCut) {
  std::string text = "#define A0 x x x x x x x x x x\n";
  for (int i = 1; i < 8; ++i)
    text += fmt::format("#define A{0} A{1} A{1} A{1} A{1} A{1} A{1} A{1} A{1} A{1}\n", i, i - 1);
  const grader::WorkerBuild built = build_with(text + "void f() { A7; }\n");
  EXPECT_NE(built.verdict, grader::Verdict::kPassed);
  EXPECT_FALSE(built.message.empty());
}

TEST(WorkerPlan, CommandsAreSplitAsTheShellDoes) {
  EXPECT_EQ(grader::split_command("a  'b c' \"d e\" f\\ g '' -DX=\\\"y\\\""),
            (std::vector<std::string>{"a", "b c", "d e", "f g", "", "-DX=\"y\""}));
  EXPECT_TRUE(grader::split_command("").empty());
}

TEST(WorkerPlan, PathsAreRewrittenOnceAndOnlyWhole) {
  const std::vector<grader::Mount> mounts = {{"/tree/build/s/tree", "/tree", false},
                                             {"/o/1", "/compiled", true}};
  const auto rewrite = [&](const char* text) { return grader::rewrite_paths(text, mounts); };
  EXPECT_EQ(rewrite("/tree/a.cpp"), "/tree/build/s/tree/a.cpp");
  EXPECT_EQ(rewrite("-I/tree/include"), "-I/tree/build/s/tree/include");
  EXPECT_EQ(rewrite("-fmacro-prefix-map=/tree/="), "-fmacro-prefix-map=/tree/build/s/tree/=");
  EXPECT_EQ(rewrite("/treehouse/x /other/tree/x"), "/treehouse/x /other/tree/x");
  EXPECT_EQ(rewrite("/compiled/x.o"), "/o/1/x.o");
}

}  // namespace
