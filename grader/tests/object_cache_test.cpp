#include "../src/object_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "grader/error.h"
#include "grader/files.h"

namespace {

namespace fs = std::filesystem;
using grader::ObjectCache;

class ObjectCacheTest : public testing::Test {
 protected:
  fs::path made(const std::string& text) {
    grader::write_file(folder_.path() / "made", text);
    return folder_.path() / "made";
  }
  std::string fetched(const ObjectCache& cache, const std::string& inputs) {
    fs::remove(folder_.path() / "fetched");
    if (!cache.fetch(inputs, folder_.path() / "fetched")) return "nothing";
    return grader::read_file(folder_.path() / "fetched");
  }

  grader::ScratchFolder folder_{fs::temp_directory_path()};
  fs::path cached_ = folder_.path() / "cache";
};

TEST_F(ObjectCacheTest, FindsWhatWasMadeOfTheSameInputs) {
  const ObjectCache cache(cached_);
  cache.keep("source one", made("object one"));
  cache.keep("source two", made("object two"));
  EXPECT_EQ(fetched(cache, "source one"), "object one");
  EXPECT_EQ(fetched(cache, "source two"), "object two");
  EXPECT_EQ(fetched(cache, "source three"), "nothing");
  EXPECT_EQ(fetched(ObjectCache(cached_), "source one"), "object one") << "a later run";
}

TEST_F(ObjectCacheTest, ComparesTheInputsThemselves) {
  const ObjectCache cache(cached_);
  cache.keep("source", made("object"));
  // As if another source had the same digest.
  for (const auto& entry : fs::directory_iterator(cached_))
    grader::write_file(entry.path() / "inputs", "something else");
  EXPECT_EQ(fetched(cache, "source"), "nothing");
}

TEST_F(ObjectCacheTest, TheFirstOfTwoStays) {
  const ObjectCache cache(cached_);
  cache.keep("source", made("first"));
  cache.keep("source", made("second"));
  EXPECT_EQ(fetched(cache, "source"), "first");
  EXPECT_EQ(std::distance(fs::directory_iterator(cached_), {}), 1) << "something half made was left";
}

TEST_F(ObjectCacheTest, WithoutAFolderItKeepsNothing) {
  const ObjectCache cache;
  EXPECT_FALSE(cache.is_on());
  cache.keep("source", made("object"));
  EXPECT_EQ(fetched(cache, "source"), "nothing");
}

TEST_F(ObjectCacheTest, AnEntryWithoutAnObjectIsNone) {
  const ObjectCache cache(cached_);
  cache.keep("source", made("object"));
  for (const auto& entry : fs::directory_iterator(cached_)) fs::remove(entry.path() / "object");
  EXPECT_EQ(fetched(cache, "source"), "nothing");
}

TEST_F(ObjectCacheTest, SaysWhenTheFolderCannotBe) {
  grader::write_file(folder_.path() / "file", "");
  EXPECT_THROW(ObjectCache(folder_.path() / "file" / "cache"), grader::InfrastructureError);
}

TEST_F(ObjectCacheTest, DigestDependsOnNamesAndContents) {
  const fs::path headers = folder_.path() / "headers";
  fs::create_directories(headers / "kit");
  grader::write_file(headers / "kit/a.h", "a");
  grader::write_file(headers / "kit/b.h", "b");
  const std::uint64_t before = grader::digest_of_folder(headers);
  EXPECT_EQ(grader::digest_of_folder(headers), before);
  grader::write_file(headers / "kit/a.h", "b");
  const std::uint64_t changed = grader::digest_of_folder(headers);
  EXPECT_NE(changed, before);
  grader::write_file(headers / "kit/a.h", "a");
  fs::rename(headers / "kit/b.h", headers / "kit/c.h");
  EXPECT_NE(grader::digest_of_folder(headers), before);
}

}  // namespace
