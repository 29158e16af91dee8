#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace grader {

/// Objects that earlier runs of record compiled, found again by everything that went into them. Most of what
/// two submissions hand in is the same: stubs, and what everybody writes alike.
///
/// An entry keeps its inputs word for word and is used only when they are equal, so nobody can prepare an
/// object for somebody else's source. Several processes may share a folder.
class ObjectCache {
 public:
  /// No cache: finds nothing, keeps nothing.
  ObjectCache() = default;
  /// Makes `folder`. Throws InfrastructureError when it cannot.
  explicit ObjectCache(std::filesystem::path folder);

  /// Copies the object that was made of `inputs` to `to`; false when there is none.
  bool fetch(const std::string& inputs, const std::filesystem::path& to) const;
  /// Keeps a copy of `object`, a regular file. What cannot be kept, on a full disk for instance, is left out.
  void keep(const std::string& inputs, const std::filesystem::path& object) const;

  bool is_on() const { return !folder_.empty(); }

 private:
  std::filesystem::path entry_of(const std::string& inputs) const;

  std::filesystem::path folder_;
};

/// One number for the names and contents of all files in `folder`, for trees of the kit's own headers. Not
/// made to withstand somebody who looks for collisions.
std::uint64_t digest_of_folder(const std::filesystem::path& folder);

}  // namespace grader
