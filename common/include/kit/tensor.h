#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>

#include "kit/aligned_vector.h"
#include "kit/check.h"
#include "kit/dtype.h"

/// Dense row-major arrays: `Tensor` owns its elements, `TensorView` points at somebody else's.
///
/// Views have no strides: every array of the kit is contiguous in the order its shape comment gives.
namespace kit {

/// Up to four dimensions, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  /// Throws kit::Error on more than four dimensions, a negative one, or a product beyond 2^62.
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(axis)]; }
  /// Number of elements; 1 for rank 0.
  std::int64_t size() const { return size_; }
  /// "[2, 3, 4]".
  std::string to_string() const;
  bool operator==(const Shape&) const = default;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
  std::int64_t size_ = 1;
};

/// A contiguous array that somebody else owns. `T` is const for a read-only view.
template <class T>
class TensorView {
 public:
  using Element = std::remove_const_t<T>;

  TensorView() = default;
  /// `data` holds shape.size() elements.
  TensorView(T* data, const Shape& shape) : data_(data), shape_(shape) {}
  /// Throws kit::Error when the span's length is not shape.size().
  TensorView(std::span<T> data, const Shape& shape) : data_(data.data()), shape_(shape) {
    KIT_CHECK(static_cast<std::int64_t>(data.size()) == shape.size(), "{} elements cannot have shape {}",
              data.size(), shape.to_string());
  }
  /// A writable view is also a read-only one.
  template <class U>
  requires std::is_const_v<T> && std::same_as<U, Element> TensorView(
      const TensorView<U>& other)  // NOLINT(google-explicit-constructor)
      : data_(other.data()), shape_(other.shape()) {}

  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  std::int64_t dim(int axis) const { return shape_[axis]; }
  std::int64_t size() const { return rank() == 0 && data_ == nullptr ? 0 : shape_.size(); }
  T* data() const { return data_; }
  std::span<T> span() const { return {data_, static_cast<std::size_t>(size())}; }

  /// Element access by index, outermost first; indices are not checked.
  T& operator()(std::int64_t i) const { return data_[i]; }
  T& operator()(std::int64_t i, std::int64_t j) const { return data_[i * shape_[1] + j]; }
  T& operator()(std::int64_t i, std::int64_t j, std::int64_t k) const {
    return data_[(i * shape_[1] + j) * shape_[2] + k];
  }
  T& operator()(std::int64_t i, std::int64_t j, std::int64_t k, std::int64_t l) const {
    return data_[((i * shape_[1] + j) * shape_[2] + k) * shape_[3] + l];
  }

  /// The innermost vector at (i) of [n, d], or at (i, j) of [n, m, d].
  std::span<T> row(std::int64_t i) const {
    return {data_ + i * shape_[1], static_cast<std::size_t>(shape_[1])};
  }
  std::span<T> row(std::int64_t i, std::int64_t j) const {
    return {data_ + (i * shape_[1] + j) * shape_[2], static_cast<std::size_t>(shape_[2])};
  }

 private:
  T* data_ = nullptr;
  Shape shape_;
};

/// A contiguous array with its memory, 64-byte aligned.
template <class T>
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(const Shape& shape, T fill = T{})
      : data_(static_cast<std::size_t>(shape.size()), fill), shape_(shape) {}

  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  std::int64_t dim(int axis) const { return shape_[axis]; }
  std::int64_t size() const { return static_cast<std::int64_t>(data_.size()); }
  T* data() { return data_.data(); }
  const T* data() const { return data_.data(); }
  std::span<T> span() { return data_; }
  std::span<const T> span() const { return data_; }

  TensorView<T> view() { return {data(), shape_}; }
  TensorView<const T> view() const { return {data(), shape_}; }
  operator TensorView<T>() { return view(); }              // NOLINT(google-explicit-constructor)
  operator TensorView<const T>() const { return view(); }  // NOLINT(google-explicit-constructor)

  template <class... Index>
  T& operator()(Index... index) {
    return view()(static_cast<std::int64_t>(index)...);
  }
  template <class... Index>
  const T& operator()(Index... index) const {
    return view()(static_cast<std::int64_t>(index)...);
  }
  template <class... Index>
  std::span<T> row(Index... index) {
    return view().row(static_cast<std::int64_t>(index)...);
  }
  template <class... Index>
  std::span<const T> row(Index... index) const {
    return view().row(static_cast<std::int64_t>(index)...);
  }

 private:
  AlignedVector<T> data_;
  Shape shape_;
};

/// A copy of what the view shows.
template <class T>
Tensor<std::remove_const_t<T>> clone(TensorView<T> view) {
  Tensor<std::remove_const_t<T>> copy(view.shape());
  std::copy(view.span().begin(), view.span().end(), copy.span().begin());
  return copy;
}

}  // namespace kit
