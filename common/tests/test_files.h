#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "kit/llama.h"

/// Files that the loaders' tests read.
namespace kit::testing {

/// A folder that lives as long as the object.
class TempDirectory {
 public:
  TempDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "kit_test_XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

/// The bytes of a safetensors file: length, header, data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i)));
  return bytes + header + data;
}

/// A float32 file of tensors, written in the order of their names.
class SafetensorsWriter {
 public:
  void add(const std::string& name, TensorView<const float> tensor) {
    std::vector<std::int64_t> dims;
    dims.reserve(static_cast<std::size_t>(tensor.rank()));
    for (int axis = 0; axis < tensor.rank(); ++axis) dims.push_back(tensor.dim(axis));
    const std::size_t begin = data_.size();
    data_.append(reinterpret_cast<const char*>(tensor.data()), tensor.span().size_bytes());
    header_[name] = {{"dtype", "F32"}, {"shape", dims}, {"data_offsets", {begin, data_.size()}}};
  }
  std::string bytes() const { return safetensors_bytes(header_.dump(), data_); }
  nlohmann::json& header() { return header_; }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::string data_;
};

}  // namespace kit::testing
