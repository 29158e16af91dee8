#include "kit/remote/passing.h"

#include <array>
#include <atomic>
#include <cstdlib>

namespace kit::remote {

namespace {
std::atomic<DeviceTranslator> device_translator = nullptr;
constexpr std::size_t kAlignment = 64;
}  // namespace

void set_device_translator(DeviceTranslator translator) {
  device_translator = translator;
}

std::optional<std::uint64_t> device_address(const void* pointer) {
  const DeviceTranslator translate = device_translator;
  return translate == nullptr ? std::nullopt : translate(pointer);
}

namespace detail {

void put_shape(Writer& writer, const Shape& shape) {
  writer.value(static_cast<std::uint8_t>(shape.rank()));
  for (int axis = 0; axis < shape.rank(); ++axis) writer.value(shape[axis]);
}

Shape take_shape(Reader& reader, std::size_t element_bytes) {
  const auto rank = reader.value<std::uint8_t>();
  if (rank > Shape::kMaxRank)
    throw ProtocolError(fmt::format("{}an array of {} dimensions", ProtocolError::kPrefix, rank));
  std::array<std::int64_t, Shape::kMaxRank> dims{};
  for (int axis = 0; axis < rank; ++axis) reader.value(dims[static_cast<std::size_t>(axis)]);
  const std::span<const std::int64_t> used = std::span(dims).first(rank);
  // The arenas hold less than 2^40 bytes, so this keeps the products below from overflowing.
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  std::int64_t size = 1;
  for (const std::int64_t dim : used) {
    if (dim < 0 || dim > kMost || (dim > 0 && size > kMost / dim))
      throw ProtocolError(fmt::format("{}an array with a dimension of {}", ProtocolError::kPrefix, dim));
    size *= dim;
  }
  if (size > kMost / static_cast<std::int64_t>(element_bytes))
    throw ProtocolError(fmt::format("{}an array of {} elements", ProtocolError::kPrefix, size));
  return Shape(used);
}

void put_view_shape(Writer& writer, const Shape& shape, std::int64_t size) {
  put_shape(writer, shape);
  writer.value(size == shape.size());
}

std::optional<Shape> take_view_shape(Reader& reader, std::size_t element_bytes) {
  const Shape shape = take_shape(reader, element_bytes);
  if (reader.value<bool>()) return shape;
  if (shape.rank() != 0)
    throw ProtocolError(
        fmt::format("{}a shape {} without elements", ProtocolError::kPrefix, shape.to_string()));
  return std::nullopt;
}

std::size_t take_size(Reader& reader, std::size_t element_bytes) {
  const auto size = reader.value<std::uint64_t>();
  if (size > (std::uint64_t{1} << 40) / element_bytes)
    throw ProtocolError(fmt::format("{}an array of {} elements", ProtocolError::kPrefix, size));
  return static_cast<std::size_t>(size);
}

SentArray::SentArray(Writer& writer, const void* data, std::size_t n_bytes) {
  const std::optional<std::uint64_t> address = device_address(data);
  on_device_ = address.has_value();
  writer.value(on_device_);
  if (on_device_) {
    writer.value(*address);
  } else {
    place_ = writer.array(data, n_bytes);
  }
}

void SentArray::take_back(Connection& connection, void* data) const {
  if (on_device_ || place_.n_bytes == 0) return;
  std::memcpy(data, connection.own_arena().at(place_.offset, place_.n_bytes), place_.n_bytes);
}

HeldArray::HeldArray(Reader& reader, std::size_t n_bytes) : n_bytes_(n_bytes) {
  const Side side = reader.connection().side();
  if (reader.value<bool>()) {
    if (side == Side::kChecker) throw ProtocolError(fmt::format("{}device memory", ProtocolError::kPrefix));
    data_ = reinterpret_cast<void*>(reader.value<std::uint64_t>());  // the worker's own, from the checker
    return;
  }
  shared_ = reader.array(n_bytes);
  data_ = shared_;
  if (side == Side::kWorker || n_bytes == 0) return;
  const std::size_t rounded = (n_bytes + kAlignment - 1) / kAlignment * kAlignment;
  copy_ =
      std::shared_ptr<std::byte>(static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded)), std::free);
  if (copy_ == nullptr) throw std::bad_alloc();
  std::memcpy(copy_.get(), shared_, n_bytes);
  data_ = copy_.get();
}

void HeldArray::put_back() const {
  if (copy_ != nullptr) std::memcpy(shared_, copy_.get(), n_bytes_);
}

}  // namespace detail

namespace {
using RngBytes = std::array<std::uint64_t, 2>;

void put_rng(Writer& writer, const Rng& rng) {
  RngBytes bytes{};
  std::memcpy(bytes.data(), &rng, sizeof(bytes));
  for (const std::uint64_t part : bytes) writer.value(part);
}
void take_rng(Reader& reader, Rng& rng) {
  RngBytes bytes{};
  for (std::uint64_t& part : bytes) reader.value(part);
  std::memcpy(static_cast<void*>(&rng), bytes.data(), sizeof(bytes));
}
}  // namespace

Passing<Rng&>::Sent::Sent(Writer& writer, Rng& r) : rng(r) {
  put_rng(writer, rng);
}
void Passing<Rng&>::Sent::take_back(Reader& reader) {
  take_rng(reader, rng);
}
Passing<Rng&>::Held::Held(Reader& reader) {
  take_rng(reader, rng);
}
void Passing<Rng&>::Held::put_back(Writer& writer) {
  put_rng(writer, rng);
}

}  // namespace kit::remote
