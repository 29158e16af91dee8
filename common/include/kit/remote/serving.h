#pragma once

#include <memory>

#include "kit/batch_server.h"
#include "kit/block_allocator.h"
#include "kit/engine.h"
#include "kit/paged_kv_cache.h"
#include "kit/prefix_cache.h"
#include "kit/remote/interfaces.h"
#include "kit/scheduler.h"
#include "kit/step_executor.h"

/// The interfaces of labs 02 and 03 between processes, as in kit/remote/interfaces.h.
namespace kit::remote {

/// An object that its receiver keeps: both sides share it. It stays where it was made, until neither side has
/// it.
template <class C>
requires requires {
  typename Interface<C>::Methods;
}
struct Passing<std::shared_ptr<C>> {
  struct Sent {
    Sent(Writer& writer, const std::shared_ptr<C>& object) {
      writer.value(object != nullptr);
      if (object == nullptr) return;
      const auto* remote = dynamic_cast<const Remote*>(object.get());
      const bool comes_home = remote != nullptr && &remote->connection() == &writer.connection();
      const ObjectId id =
          comes_home ? remote->object() : writer.connection().add_object(export_object<C>(*object, object));
      writer.value(id.owner);
      writer.value(id.id);
    }
    void take_back(Reader& /*reader*/) {}
  };
  struct Held {
    std::shared_ptr<C> object;
    explicit Held(Reader& reader) {
      if (!reader.value<bool>()) return;
      Connection& connection = reader.connection();
      ObjectId id;
      reader.value(id.owner);
      reader.value(id.id);
      if (id.owner != connection.side()) {
        object = Interface<C>::make_proxy(connection, id, /*owns=*/true);
        return;
      }
      const Exported& own = connection.find_object(id, type_tag<C>());
      if (own.owned == nullptr)
        throw ProtocolError(std::string(ProtocolError::kPrefix) + "an argument cannot be kept");
      object = std::shared_ptr<C>(own.owned, static_cast<C*>(own.object));
    }
    std::shared_ptr<C> get() const { return object; }
    void put_back(Writer& /*writer*/) {}
  };
};

template <>
struct LastEnumerator<FinishReason> {
  static constexpr FinishReason kValue = FinishReason::kEndOfText;
};

template <>
struct Interface<BlockAllocator> {
  using Methods = MethodList<&BlockAllocator::n_blocks, &BlockAllocator::n_free, &BlockAllocator::allocate,
                             &BlockAllocator::share, &BlockAllocator::release, &BlockAllocator::ref_count>;
  static std::unique_ptr<BlockAllocator> make_proxy(Connection& connection, ObjectId object, bool owns);
};
template <>
struct Passing<BlockAllocator&> : PassingObject<BlockAllocator> {};

template <>
struct Interface<PagedKvCache> {
  using Methods = MethodList<&PagedKvCache::block_size, &PagedKvCache::add_sequence, &PagedKvCache::append,
                             &PagedKvCache::fork, &PagedKvCache::free, &PagedKvCache::context_len,
                             &PagedKvCache::block_table, &PagedKvCache::usage>;
  static std::unique_ptr<PagedKvCache> make_proxy(Connection& connection, ObjectId object, bool owns);
};

template <>
struct Interface<PrefixCache> {
  using Methods =
      MethodList<&PrefixCache::match, &PrefixCache::insert, &PrefixCache::evict, &PrefixCache::n_blocks>;
  static std::unique_ptr<PrefixCache> make_proxy(Connection& connection, ObjectId object, bool owns);
};

template <>
struct Interface<Scheduler> {
  using Methods = MethodList<&Scheduler::add, &Scheduler::schedule, &Scheduler::append_token,
                             &Scheduler::finish, &Scheduler::waiting, &Scheduler::running>;
  static std::unique_ptr<Scheduler> make_proxy(Connection& connection, ObjectId object, bool owns);
};

template <>
struct Interface<Engine> {
  using Methods = MethodList<&Engine::submit, &Engine::cancel, &Engine::step, &Engine::has_work>;
  static std::unique_ptr<Engine> make_proxy(Connection& connection, ObjectId object, bool owns);
};

/// run() counts on both sides, as Model::forward does; the evidence is the count of the object that is asked.
template <>
struct Interface<StepExecutor> {
  using Methods = MethodList<&StepExecutor::config, &StepExecutor::kv_config, &StepExecutor::run>;
  static std::unique_ptr<StepExecutor> make_proxy(Connection& connection, ObjectId object, bool owns);
};
template <>
struct Passing<StepExecutor&> : PassingObject<StepExecutor> {};

template <>
struct Interface<BatchServer> {
  using Methods = MethodList<&BatchServer::n_slots, &BatchServer::now_ms, &BatchServer::take_arrivals,
                             &BatchServer::next_arrival_ms, &BatchServer::wait_until, &BatchServer::run>;
  static std::unique_ptr<BatchServer> make_proxy(Connection& connection, ObjectId object, bool owns);
};
template <>
struct Passing<BatchServer&> : PassingObject<BatchServer> {};

}  // namespace kit::remote

namespace kit {

template <class Archive>
void serialize(Archive& archive, PagedKvConfig& x) {
  auto& [n_layers, n_kv_heads, head_dim, block_size, n_blocks] = x;
  archive(n_layers, n_kv_heads, head_dim, block_size, n_blocks);
}
template <class Archive>
void serialize(Archive& archive, BlockCopy& x) {
  auto& [from, to] = x;
  archive(from, to);
}
template <class Archive>
void serialize(Archive& archive, AppendedSlots& x) {
  auto& [slot_mapping, copies] = x;
  archive(slot_mapping, copies);
}
template <class Archive>
void serialize(Archive& archive, KvUsage& x) {
  auto& [n_sequences, allocated_blocks, allocated_slots, used_slots, shared_blocks] = x;
  archive(n_sequences, allocated_blocks, allocated_slots, used_slots, shared_blocks);
}
template <class Archive>
void serialize(Archive& archive, PrefixMatch& x) {
  auto& [blocks, n_tokens] = x;
  archive(blocks, n_tokens);
}
template <class Archive>
void serialize(Archive& archive, ScheduledChunk& x) {
  auto& [request, first_pos, n_tokens, samples, block_table] = x;
  archive(request, first_pos, n_tokens, samples, block_table);
}
template <class Archive>
void serialize(Archive& archive, Schedule& x) {
  auto& [chunks, preempted] = x;
  archive(chunks, preempted);
}
template <class Archive>
void serialize(Archive& archive, GenerationRequest& x) {
  auto& [id, prompt, max_new_tokens, temperature, seed] = x;
  archive(id, prompt, max_new_tokens, temperature, seed);
}
template <class Archive>
void serialize(Archive& archive, TokenEvent& x) {
  auto& [request, token, finish] = x;
  archive(request, token, finish);
}
template <class Archive>
void serialize(Archive& archive, StepSequence& x) {
  auto& [tokens, first_pos, block_table] = x;
  archive(tokens, first_pos, block_table);
}
template <class Archive>
void serialize(Archive& archive, ArrivedRequest& x) {
  auto& [request, arrival_ms, prompt_len] = x;
  archive(request, arrival_ms, prompt_len);
}

}  // namespace kit
