#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kit/model.h"

/// Architecture numbers of well-known models, and how many parameters they make.
namespace kit {

struct KnownModel {
  std::string name;   ///< "llama2-70b", as the command line says it
  std::string title;  ///< "LLaMA-2 70B"
  ModelConfig config;
};

/// Parameters of the Llama architecture with these sizes: embedding, layers (four attention matrices, three
/// of the MLP, two gains), final gain, and an output head of its own unless it is tied to the embedding.
/// Throws kit::Error on a config that cannot be, or a count beyond 2^63 - 1.
std::int64_t n_parameters(const ModelConfig& config);

/// The parameters that a decode step reads: all but the embedding table, of which a step looks up one row a
/// token. Where the head is tied to it, the head reads the whole table, and these are all parameters.
std::int64_t n_parameters_read(const ModelConfig& config);

/// llama2-7b, llama2-13b, llama2-70b, llama3-8b, llama3-70b, mistral-7b, and the shipped pair, target and
/// draft. Sources are in the table.
std::span<const KnownModel> models();

/// A model by name. Throws kit::Error that lists the names.
const KnownModel& find_model(std::string_view name);

}  // namespace kit
