#include "kit/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "kit/testing.h"
#include "test_files.h"

namespace kit::testing {
namespace {

/// The text as a format's bytes; it must outlive the file.
std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

SafetensorsFile parse(const std::string& bytes) {
  return SafetensorsFile::parse(as_bytes(bytes), "t.safetensors");
}

::testing::AssertionResult fails(const std::string& header, std::size_t n_data, const std::string& needle) {
  const std::string bytes = safetensors_bytes(header, std::string(n_data, '\0'));
  const auto result = throws_error([&] { parse(bytes); }, needle);
  return result ? throws_error([&] { parse(bytes); }, "t.safetensors") : result;
}

template <class T>
std::string raw(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

TEST(Safetensors, ReadsEveryDtype) {
  const std::string data = raw<float>({1.5F, -2.0F}) + raw<std::uint16_t>({0x3C00, 0xC100}) +
                           raw<std::uint16_t>({0x3F80, 0xC040}) + raw<std::int8_t>({-3});
  const std::string bytes = safetensors_bytes(R"({"__metadata__":{"format":"pt"},)"
                                              R"("f32":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                                              R"("f16":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},)"
                                              R"("bf16":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},)"
                                              R"("i8":{"dtype":"I8","shape":[1],"data_offsets":[16,17]}}   )",
                                              data);
  const SafetensorsFile file = parse(bytes);
  EXPECT_EQ(file.entries().size(), 4U);
  EXPECT_FALSE(file.contains("__metadata__"));
  const Tensor<float> f32 = to_float_tensor(file.at("f32"), "f32");
  EXPECT_EQ(f32.shape(), (Shape{2, 1}));
  EXPECT_EQ(f32(0, 0), 1.5F);
  EXPECT_EQ(f32(1, 0), -2.0F);
  EXPECT_EQ(to_float_tensor(file.at("f16"), "f16")(0), 1.0F);
  EXPECT_EQ(to_float_tensor(file.at("f16"), "f16")(1), -2.5F);
  EXPECT_EQ(to_float_tensor(file.at("bf16"), "bf16")(0), 1.0F);
  EXPECT_EQ(to_float_tensor(file.at("bf16"), "bf16")(1), -3.0F);
  EXPECT_EQ(static_cast<std::int8_t>(file.at("i8").bytes[0]), -3);
  EXPECT_TRUE(throws_error([&] { to_float_tensor(file.at("i8"), "i8"); }, "\"i8\" is I8"));
}

TEST(Safetensors, AcceptsNoTensorsEmptyTensorsAndScalars) {
  EXPECT_TRUE(parse(safetensors_bytes("{}", "")).entries().empty());
  const std::string bytes = safetensors_bytes(
      R"({"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
      R"("c":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}})",
      raw<float>({7.0F}));
  const SafetensorsFile file = parse(bytes);
  EXPECT_EQ(to_float_tensor(file.at("b"), "b").span()[0], 7.0F);
  EXPECT_EQ(to_float_tensor(file.at("a"), "a").size(), 0);
}

TEST(Safetensors, MapsAFileThatOutlivesItsReader) {
  const TempDirectory directory;
  Rng rng = make_rng(400);
  const Tensor<float> tensor = random_tensor({3, 5}, rng);
  SafetensorsWriter writer;
  writer.add("weight", tensor);
  directory.write("model.safetensors", writer.bytes());
  const SafetensorsFile copy = [&] {
    return SafetensorsFile::open(directory.path() / "model.safetensors");
  }();
  EXPECT_TRUE(matches(to_float_tensor(copy.at("weight"), "weight"), tensor, {}));
  EXPECT_TRUE(throws_error([&] { copy.at("bias"); }, "there is no tensor \"bias\""));
  EXPECT_TRUE(throws_error([&] { copy.at("bias"); }, "model.safetensors"));
}

TEST(Safetensors, NamesAFileThatCannotBeRead) {
  const TempDirectory directory;
  EXPECT_TRUE(throws_error([&] { SafetensorsFile::open(directory.path() / "none.safetensors"); },
                           "none.safetensors"));
  EXPECT_TRUE(throws_error([&] { SafetensorsFile::open(directory.path()); }, "not a regular file"));
  directory.write("empty.safetensors", "");
  EXPECT_TRUE(
      throws_error([&] { SafetensorsFile::open(directory.path() / "empty.safetensors"); }, "0 bytes"));
}

TEST(Safetensors, RejectsEveryTruncation) {
  SafetensorsWriter writer;
  writer.add("weight", Tensor<float>({2, 2}, 1.0F));
  const std::string whole = writer.bytes();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    EXPECT_TRUE(throws_error([&] { parse(cut); }, "t.safetensors")) << size << " bytes";
  }
}

TEST(Safetensors, RejectsAbsurdHeaderLengths) {
  for (const char last : {'\x01', '\x7f', '\xff'}) {
    const std::string bytes = std::string(7, '\xff') + last + "{}";
    EXPECT_TRUE(throws_error([&] { parse(bytes); }, "beyond the limit"));
  }
  const std::string bytes = safetensors_bytes("{}", "").replace(0, 1, "\x50");
  EXPECT_TRUE(throws_error([&] { parse(bytes); }, "should have 80 bytes, but only 2 follow"));
}

TEST(Safetensors, RejectsAHeaderThatIsNotAnObject) {
  EXPECT_TRUE(fails("", 0, "not valid JSON"));
  EXPECT_TRUE(fails("hello", 0, "not valid JSON"));
  EXPECT_TRUE(fails("{\"a\":", 0, "not valid JSON"));
  EXPECT_TRUE(fails("{\"a\xff\":1}", 0, "not valid JSON"));
  EXPECT_TRUE(fails("[1]", 0, "not an object"));
  EXPECT_TRUE(fails("null", 0, "not an object"));
  EXPECT_TRUE(fails(std::string(1'000'000, '['), 0, "nested deeper"));
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "{\"a\":";
  EXPECT_TRUE(fails(nested, 0, "nested deeper"));
}

TEST(Safetensors, RejectsDuplicateKeys) {
  EXPECT_TRUE(fails(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                    R"("w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                    4, "key \"w\" appears twice"));
  EXPECT_TRUE(fails(R"({"w":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4,
                    "key \"dtype\" appears twice"));
}

TEST(Safetensors, RejectsEntriesOfTheWrongKind) {
  EXPECT_TRUE(fails(R"({"w":7})", 0, "tensor \"w\" is 7, not an object"));
  EXPECT_TRUE(fails(R"({"w":{"shape":[1],"data_offsets":[0,4]}})", 4, "\"dtype\" is missing"));
  EXPECT_TRUE(fails(R"({"w":{"dtype":"F32","data_offsets":[0,4]}})", 4, "\"shape\" is missing"));
  EXPECT_TRUE(fails(R"({"w":{"dtype":"F32","shape":[1]}})", 4, "\"data_offsets\" is missing"));
  EXPECT_TRUE(fails(R"({"w":{"dtype":5,"shape":[1],"data_offsets":[0,4]}})", 4, "\"dtype\" is 5"));
  EXPECT_TRUE(fails(R"({"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", 8, "dtype \"F64\""));
  EXPECT_TRUE(fails(R"({"w":{"dtype":"F32","shape":4,"data_offsets":[0,4]}})", 4, "\"shape\" is 4"));
  EXPECT_TRUE(fails(R"({"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "\"shape\" is 1.5"));
  EXPECT_TRUE(
      fails(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4]}})", 4, "[4] are not [begin, end]"));
  EXPECT_TRUE(
      fails(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":"0,4"}})", 4, "\"data_offsets\" is \"0,4\""));
  EXPECT_TRUE(fails(R"({"__metadata__":[]})", 0, "__metadata__ is []"));
  EXPECT_TRUE(fails(R"({"__metadata__":{"format":1}})", 0, "\"format\" is 1"));
}

TEST(Safetensors, RejectsImpossibleShapes) {
  EXPECT_TRUE(fails(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4,
                    "tensor \"w\": \"shape\" is -1"));
  EXPECT_TRUE(
      fails(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "F32 [2] does not fill the 4"));
  EXPECT_TRUE(
      fails(R"({"w":{"dtype":"F16","shape":[1],"data_offsets":[0,3]}})", 3, "F16 [1] does not fill the 3"));
  // 2^62 * 4 bytes wraps to 0 in 64 bits; 2^32 * 2^32 elements do.
  EXPECT_TRUE(fails(R"({"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
                    "does not fill"));
  EXPECT_TRUE(fails(R"({"w":{"dtype":"I8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                    "tensor \"w\": shape"));
  EXPECT_TRUE(fails(R"({"w":{"dtype":"I8","shape":[18446744073709551615],"data_offsets":[0,0]}})", 0,
                    "18446744073709551615"));
  EXPECT_TRUE(fails(R"({"w":{"dtype":"I8","shape":[1,1,1,1,1],"data_offsets":[0,1]}})", 1, "5 dimensions"));
}

TEST(Safetensors, RejectsOffsetsThatDoNotTileTheData) {
  const auto entry = [](const char* name, int begin, int end) {
    return fmt::format(R"("{}":{{"dtype":"I8","shape":[{}],"data_offsets":[{},{}]}})", name,
                       std::abs(end - begin), begin, end);
  };
  const auto two = [&](int a, int b, int c, int d) {
    return "{" + entry("x", a, b) + "," + entry("y", c, d) + "}";
  };
  EXPECT_TRUE(fails(two(0, 4, 2, 6), 6, "tensor \"y\" at byte 2 overlaps tensor \"x\""));
  EXPECT_TRUE(fails(two(0, 4, 0, 4), 4, "overlaps"));
  EXPECT_TRUE(fails(two(0, 2, 4, 6), 6, "bytes 2 to 4, before tensor \"y\", belong to no tensor"));
  EXPECT_TRUE(fails(two(2, 4, 4, 6), 6, "bytes 0 to 2"));
  EXPECT_TRUE(fails(two(0, 4, 4, 6), 9, "bytes 6 to 9, at the end"));
  EXPECT_TRUE(fails(two(0, 4, 6, 4), 6, "[6, 4] end before they begin"));
  EXPECT_TRUE(
      fails(two(0, 4, 4, 7), 6, "[4, 7] lie beyond the 6 bytes of data that the file has: is it truncated?"));
  EXPECT_TRUE(fails(two(-1, 4, 4, 6), 6, "\"data_offsets\" is -1"));
  EXPECT_TRUE(fails("{}", 3, "bytes 0 to 3, at the end"));
}

}  // namespace
}  // namespace kit::testing
