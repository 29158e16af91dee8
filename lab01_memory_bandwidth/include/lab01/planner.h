#pragma once

#include <cstdint>
#include <vector>

#include "kit/device_table.h"
#include "kit/model.h"
#include "lab01/decode.h"
#include "lab01/memory.h"

/// Lab 01, task 8: "a 70B model and 40 GB: what do you do?"
///
/// Every function throws kit::Error that names the parameter and its value when a count is zero or negative,
/// when seq_len exceeds model.max_seq_len, when n_devices does not divide model.n_kv_heads, and when a
/// product exceeds 64 bits.
namespace lab01 {

/// Prompts run in pieces of at most this many tokens, one sequence at a time (chunked prefill), so that a
/// long prompt does not decide how much memory activations take.
inline constexpr std::int64_t kPrefillChunk = 512;

/// What is to run.
struct Configuration {
  std::int64_t batch = 1;
  std::int64_t seq_len = 1;  ///< tokens of each sequence, prompt and answer together
  Formats formats;
  std::int64_t n_devices = 1;  ///< tensor parallel: each device holds whole key/value heads
};

/// Memory on one device. Weights and cache are divided by n_devices, rounded up; activations are not (an
/// upper bound).
struct Footprint {
  std::int64_t weight_bytes = 0;      ///< all parameters, kit::n_parameters
  std::int64_t kv_bytes = 0;          ///< batch sequences of seq_len tokens
  std::int64_t activation_bytes = 0;  ///< of a decode step of the whole batch, or of one sequence's prefill
                                      ///< chunk of min(seq_len, kPrefillChunk) tokens, whichever is more
  std::int64_t total_bytes = 0;
};

Footprint footprint(const kit::ModelConfig& model, const Configuration& configuration);

/// Does it fit on one device: total_bytes <= device.memory_bytes? What a driver and a runtime keep is not
/// counted, so a plan that fits to the last byte will not run.
bool fits(const kit::ModelConfig& model, const kit::Device& device, std::int64_t batch, std::int64_t seq_len,
          const Formats& formats);

/// A configuration with its numbers.
struct Assessment {
  Configuration configuration;
  Footprint per_device;
  bool fits = false;
  /// decode_limit with the bandwidth of all devices together, for a step at the full context of seq_len.
  /// Reads the weights of kit::n_parameters_read: a step does not read the embedding table.
  DecodeLimit limit;
};

enum class Change {
  kNarrowerWeights,
  kNarrowerCache,
  kNarrowerBoth,
  kFewerSequences,
  kShorterContext,
  kMoreDevices
};

struct Suggestion {
  Change change = Change::kNarrowerWeights;
  Assessment assessment;
};

struct Plan {
  Assessment asked;
  std::int64_t max_batch =
      0;  ///< most sequences of seq_len tokens that fit, formats and devices as asked; 0: none
  std::int64_t max_seq_len =
      0;  ///< most tokens for each of batch sequences, at most model.max_seq_len; 0: none
  std::vector<Suggestion> suggestions;  ///< empty when what was asked fits
};

/// Assesses what is asked; where it does not fit, says what to change, each with its own numbers, in this
/// order:
///
///   kNarrowerWeights  weights in int8, then in int4, both in groups of 128 without zero points; each only if
///   that
///                     is fewer bytes than asked. Shown whether it fits or not.
///   kNarrowerCache    keys and values in int8, if they are wider than 8 bits. Shown whether it fits or not.
///   kNarrowerBoth     the last of kNarrowerWeights together with kNarrowerCache, if there are both. Shown
///   whether
///                     it fits or not.
///   kFewerSequences   the largest smaller batch that fits, at the asked seq_len
///   kShorterContext   the largest smaller seq_len that fits, for the asked batch
///                     These two keep the formats as asked where some batch (or seq_len) then fits; else they
///                     use the last of the formats shown above; else, and when nothing need be reduced in
///                     these formats, they are left out.
///   kMoreDevices      the smallest larger n_devices that divides n_kv_heads and fits, all else as asked;
///   left out
///                     when there is none.
Plan make_plan(const kit::ModelConfig& model, const kit::Device& device, const Configuration& asked);

}  // namespace lab01
