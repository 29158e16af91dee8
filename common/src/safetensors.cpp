#include "kit/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>

#include "json_input.h"
#include "kit/parallel.h"

namespace kit {
namespace {

using detail::Fields;
using detail::Json;

constexpr std::uint64_t kLengthBytes = 8;
/// The limit of the format's reference implementation.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

struct Extent {
  std::uint64_t begin, end;
  std::string name;
};

std::optional<DType> parse_dtype(const std::string& text) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    if (text == name(dtype)) return dtype;
  }
  return std::nullopt;
}

Shape read_shape(const Fields& fields) {
  std::vector<std::int64_t> dims;
  for (const Json& dim : fields.array("shape")) {
    dims.push_back(fields.to_integer(dim, "shape", 0, std::numeric_limits<std::int64_t>::max()));
  }
  try {
    return Shape(dims);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", fields.origin(), error.what()));
  }
}

/// One entry of the header; its bytes lie at data_offsets in `data`.
SafetensorsEntry read_entry(const Fields& fields, std::span<const std::byte> data, const std::string& name,
                            std::vector<Extent>& extents) {
  const std::string dtype_text = fields.string("dtype");
  const std::optional<DType> dtype = parse_dtype(dtype_text);
  KIT_CHECK(dtype.has_value(), "{}: dtype \"{}\" is not supported, only F32, F16, BF16 and I8",
            fields.origin(), dtype_text);
  const Shape shape = read_shape(fields);
  const Json& offsets = fields.array("data_offsets");
  KIT_CHECK(offsets.size() == 2, "{}: data_offsets {} are not [begin, end]", fields.origin(),
            detail::shown(offsets));
  const auto size = static_cast<std::int64_t>(data.size());
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const std::int64_t begin = fields.to_integer(offsets[0], "data_offsets", 0, kMost);
  const std::int64_t end = fields.to_integer(offsets[1], "data_offsets", 0, kMost);
  KIT_CHECK(begin <= size && end <= size,
            "{}: data_offsets [{}, {}] lie beyond the {} bytes of data that the file has: is it truncated?",
            fields.origin(), begin, end, size);
  KIT_CHECK(begin <= end, "{}: data_offsets [{}, {}] end before they begin", fields.origin(), begin, end);
  // Divided, not multiplied: a shape can have more elements than 2^64 bytes hold.
  const auto element = static_cast<std::int64_t>(size_bytes(*dtype));
  KIT_CHECK((end - begin) % element == 0 && (end - begin) / element == shape.size(),
            "{}: {} {} does not fill the {} bytes of data_offsets [{}, {}]", fields.origin(), dtype_text,
            shape.to_string(), end - begin, begin, end);
  extents.push_back({static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end), name});
  return {*dtype, shape,
          data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin))};
}

void check_metadata(const Json& metadata, const std::string& origin) {
  KIT_CHECK(metadata.is_object(), "{}: __metadata__ is {}, not an object", origin, detail::shown(metadata));
  for (const auto& [key, value] : metadata.items()) {
    KIT_CHECK(value.is_string(), "{}: __metadata__ \"{}\" is {}, not a string", origin, key,
              detail::shown(value));
  }
}

/// The tensors must tile the data: no byte owned twice, none by nobody.
void check_extents(std::vector<Extent>& extents, std::uint64_t data_bytes, const std::string& origin) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t covered = 0;
  std::string previous = "the header";
  for (const Extent& extent : extents) {
    KIT_CHECK(extent.begin >= covered,
              "{}: tensor \"{}\" at byte {} overlaps tensor \"{}\", which ends at {}", origin, extent.name,
              extent.begin, previous, covered);
    KIT_CHECK(extent.begin == covered, "{}: bytes {} to {}, before tensor \"{}\", belong to no tensor",
              origin, covered, extent.begin, extent.name);
    covered = extent.end;
    previous = extent.name;
  }
  KIT_CHECK(covered == data_bytes, "{}: bytes {} to {}, at the end, belong to no tensor", origin, covered,
            data_bytes);
}

std::uint64_t read_header_length(std::span<const std::byte> bytes, const std::string& origin) {
  KIT_CHECK(bytes.size() >= kLengthBytes, "{}: {} bytes are too few for a safetensors file", origin,
            bytes.size());
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    length |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  KIT_CHECK(length <= kMaxHeaderBytes, "{}: a header of {} bytes is beyond the limit of {}", origin, length,
            kMaxHeaderBytes);
  KIT_CHECK(length <= bytes.size() - kLengthBytes,
            "{}: the header should have {} bytes, but only {} follow: truncated?", origin, length,
            bytes.size() - kLengthBytes);
  return length;
}

/// A file mapped for reading; unmapped when the last owner lets go.
struct Mapping {
  Mapping(void* start_in, std::size_t n_bytes_in) : start(start_in), n_bytes(n_bytes_in) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { munmap(start, n_bytes); }
  void* start;
  std::size_t n_bytes;
};

std::shared_ptr<const Mapping> map_file(const std::string& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  KIT_CHECK(descriptor >= 0, "{}: cannot be opened: {}", file, std::strerror(errno));
  const std::unique_ptr<const int, void (*)(const int*)> closer(&descriptor,
                                                                [](const int* fd) { ::close(*fd); });
  struct stat status {};
  KIT_CHECK(fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode), "{}: not a regular file", file);
  KIT_CHECK(status.st_size > 0, "{}: 0 bytes are too few for a safetensors file", file);
  const auto n_bytes = static_cast<std::size_t>(status.st_size);
  void* start = mmap(nullptr, n_bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
  KIT_CHECK(start != MAP_FAILED, "{}: cannot be mapped: {}", file, std::strerror(errno));
  return std::make_shared<const Mapping>(start, n_bytes);
}

/// Converts 16-bit elements; `bytes` need not be aligned.
template <class T>
void convert(std::span<const std::byte> bytes, std::span<float> out) {
  constexpr std::int64_t kGrain = 1 << 18;
  parallel_for(static_cast<std::int64_t>(out.size()), kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      T value;
      std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
      out[i] = to_float(value);
    }
  });
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& file) {
  const std::shared_ptr<const Mapping> mapping = map_file(file.string());
  SafetensorsFile result =
      parse({static_cast<const std::byte*>(mapping->start), mapping->n_bytes}, file.string());
  result.mapping_ = mapping;
  return result;
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, const std::string& origin) {
  const std::uint64_t header_bytes = read_header_length(bytes, origin);
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, header_bytes);
  const Json json = detail::parse_json_object(header, origin);
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + header_bytes);

  SafetensorsFile result;
  result.origin_ = origin;
  std::vector<Extent> extents;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      check_metadata(entry, origin);
      continue;
    }
    const std::string where = fmt::format("{}: tensor \"{}\"", origin, name);
    KIT_CHECK(entry.is_object(), "{} is {}, not an object", where, detail::shown(entry));
    result.entries_.emplace(name, read_entry({entry, where}, data, name, extents));
  }
  check_extents(extents, data.size(), origin);
  return result;
}

const SafetensorsEntry& SafetensorsFile::at(const std::string& name) const {
  const auto found = entries_.find(name);
  KIT_CHECK(found != entries_.end(), "{}: there is no tensor \"{}\"", origin_, name);
  return found->second;
}

Tensor<float> to_float_tensor(const SafetensorsEntry& entry, const std::string& name) {
  KIT_CHECK(entry.dtype != DType::kI8,
            "tensor \"{}\" is I8, which has no scale here; F32, F16 or BF16 is needed", name);
  Tensor<float> result(entry.shape);
  if (entry.dtype == DType::kF16) {
    convert<Half>(entry.bytes, result.span());
  } else if (entry.dtype == DType::kBF16) {
    convert<BFloat16>(entry.bytes, result.span());
  } else {
    convert<float>(entry.bytes, result.span());
  }
  return result;
}

}  // namespace kit
