#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kit/tensor.h"

/// Reader of the safetensors format: 8-byte little-endian header length, JSON header, data.
namespace kit {

/// One tensor inside a file that is mapped into memory.
struct SafetensorsEntry {
  DType dtype;
  Shape shape;
  std::span<const std::byte> bytes;
};

class SafetensorsFile {
 public:
  /// Maps and validates the whole header. Throws kit::Error naming the file on: a file that cannot be read,
  /// is shorter than its header says, a header that is absurdly long or not the JSON object the format asks
  /// for, an unknown dtype, a shape whose bytes are not its offsets, offsets outside the data, overlapping
  /// tensors, or bytes no tensor owns.
  static SafetensorsFile open(const std::filesystem::path& file);
  /// The same on bytes in memory, which must outlive the result; `origin` names them in errors.
  static SafetensorsFile parse(std::span<const std::byte> bytes, const std::string& origin);

  /// Throws kit::Error naming the file and tensor when there is none of that name.
  const SafetensorsEntry& at(const std::string& name) const;
  bool contains(const std::string& name) const { return entries_.contains(name); }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const std::string& origin() const { return origin_; }

 private:
  SafetensorsFile() = default;
  std::string origin_;
  std::map<std::string, SafetensorsEntry> entries_;
  std::shared_ptr<const void> mapping_;
};

/// Converts to float32. Throws kit::Error for I8, which has no scale here.
Tensor<float> to_float_tensor(const SafetensorsEntry& entry, const std::string& name);

}  // namespace kit
