#include "kit/remote/scratch.h"

#include <bit>
#include <map>

#include "kit/memory.h"

namespace kit::remote {

namespace {

enum Method : int { kAllocate, kDeallocate };
using Allocate = std::uint64_t(std::uint64_t n_bytes, std::uint64_t alignment);
using Deallocate = void(std::uint64_t block);

// What a worker may make the checker reserve. Pages that nobody touches take no memory.
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;
constexpr std::size_t kMostBlocks = std::size_t{1} << 16;
constexpr std::uint64_t kMostAlignment = 4096;

/// The real resource's side. Every request is made of it, too, so that whoever made it sees what it would see
/// in one process: sizes, order, and what was never given back.
class Blocks {
 public:
  explicit Blocks(std::pmr::memory_resource& resource) : resource_(resource) {}

  std::uint64_t allocate(std::uint64_t n_bytes, std::uint64_t alignment) {
    if (!std::has_single_bit(alignment) || alignment > kMostAlignment)
      throw ProtocolError(fmt::format("{}an alignment of {}", ProtocolError::kPrefix, alignment));
    KIT_CHECK(n_bytes <= kMostBytes - live_bytes_ && blocks_.size() < kMostBlocks,
              "{} bytes of scratch with {} in {} blocks in use: at most {} bytes in {} blocks can be counted",
              n_bytes, live_bytes_, blocks_.size(), kMostBytes, kMostBlocks);
    void* const data = resource_.allocate(n_bytes, alignment);
    blocks_[++n_blocks_] = {data, n_bytes, alignment};
    live_bytes_ += n_bytes;
    return n_blocks_;
  }

  void deallocate(std::uint64_t block) {
    const auto found = blocks_.find(block);
    if (found == blocks_.end())
      throw ProtocolError(
          fmt::format("{}block {} of scratch given back, which is not there", ProtocolError::kPrefix, block));
    const Block b = found->second;
    blocks_.erase(found);
    live_bytes_ -= b.n_bytes;
    resource_.deallocate(b.data, b.n_bytes, b.alignment);
  }

 private:
  struct Block {
    void* data = nullptr;
    std::uint64_t n_bytes = 0;
    std::uint64_t alignment = 0;
  };
  std::pmr::memory_resource& resource_;
  std::map<std::uint64_t, Block> blocks_;
  std::uint64_t n_blocks_ = 0;
  std::uint64_t live_bytes_ = 0;
};

class ScratchProxy final : public std::pmr::memory_resource {
 public:
  ScratchProxy(Connection& connection, ObjectId object) : connection_(connection), object_(object) {}

 private:
  void* do_allocate(std::size_t n_bytes, std::size_t alignment) override {
    // First the bytes: if there are none, nobody need be told.
    void* const data = std::pmr::new_delete_resource()->allocate(n_bytes, alignment);
    try {
      blocks_[data] = Call<Allocate>::ask(connection_, target("memory_resource::allocate", kAllocate),
                                          n_bytes, alignment);
    } catch (...) {
      blocks_.erase(data);
      std::pmr::new_delete_resource()->deallocate(data, n_bytes, alignment);
      throw;
    }
    return data;
  }

  void do_deallocate(void* data, std::size_t n_bytes, std::size_t alignment) override {
    const auto found = blocks_.find(data);
    KIT_CHECK(found != blocks_.end(), "{} bytes given back to scratch, which did not come from it", n_bytes);
    const std::uint64_t block = found->second;
    blocks_.erase(found);
    std::pmr::new_delete_resource()->deallocate(data, n_bytes, alignment);
    Call<Deallocate>::ask(connection_, target("memory_resource::deallocate", kDeallocate), block);
  }

  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  Target target(std::string_view name, Method method) const {
    return {.name = name, .object = object_, .method = method};
  }

  Connection& connection_;
  ObjectId object_;
  std::map<void*, std::uint64_t> blocks_;
};

}  // namespace

Passing<std::pmr::memory_resource&>::Sent::Sent(Writer& writer, std::pmr::memory_resource& resource)
    : connection(writer.connection()) {
  const auto blocks = std::make_shared<Blocks>(resource);
  object = connection.add_object(
      {.type = type_tag<std::pmr::memory_resource>(),
       .object = nullptr,
       .call =
           [blocks](int method, Reader& reader, Writer& results) {
             if (method == kAllocate) {
               Call<Allocate>::answer(reader, results, [&](std::uint64_t n_bytes, std::uint64_t alignment) {
                 return blocks->allocate(n_bytes, alignment);
               });
             } else if (method == kDeallocate) {
               Call<Deallocate>::answer(reader, results,
                                        [&](std::uint64_t block) { blocks->deallocate(block); });
             } else {
               throw ProtocolError(std::string(ProtocolError::kPrefix) + "no such method");
             }
           },
       .owned = nullptr});
  writer.value(object->id);
}

Passing<std::pmr::memory_resource&>::Held::Held(Reader& reader) {
  Connection& connection = reader.connection();
  const ObjectId object{connection.side() == Side::kChecker ? Side::kWorker : Side::kChecker,
                        reader.value<std::uint64_t>()};
  proxy = std::make_unique<ScratchProxy>(connection, object);
  resource = std::make_unique<OneThreadResource>(*proxy);
}

}  // namespace kit::remote
