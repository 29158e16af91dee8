#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "kit/check.h"
#include "kit/device_table.h"
#include "kit/llama.h"
#include "kit/model_table.h"
#include "lab01/operations.h"
#include "lab01/planner.h"

// Answers "does it fit, how fast can it be, and what can I change?" with the implementation it is linked
// with: lab01_plan_student or lab01_plan_solution. `./kit plan` builds and runs it.

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string model = "llama2-70b";
  std::string device = "a100-40gb";
  std::int64_t batch = 1;
  std::int64_t seq_len = 0;  ///< 0: as many as the model has positions
  std::string dtype = "fp16";
  std::string kv_dtype;
  std::int64_t group_size = 128;
  std::int64_t n_devices = 1;
  bool operations = false;
  std::filesystem::path json;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--model", options.model, "A model of the table, or a directory with a config.json")
      ->capture_default_str();
  app.add_option("--device", options.device, "A device of the table, or this-machine, which is then measured")
      ->capture_default_str();
  app.add_option("--batch", options.batch, "Sequences at a time")->capture_default_str();
  app.add_option("--seq", options.seq_len, "Tokens of each sequence (default: all positions of the model)");
  app.add_option("--dtype", options.dtype, "Weights: fp32, fp16, bf16, fp8, int8 or int4")
      ->capture_default_str();
  app.add_option("--kv-dtype", options.kv_dtype, "Keys and values (default: as the activations)");
  app.add_option("--group-size", options.group_size, "Weights that share an fp16 scale, for int8 and int4")
      ->capture_default_str();
  app.add_option("--devices", options.n_devices, "Devices that share the model (tensor parallel)")
      ->capture_default_str();
  app.add_flag("--operations", options.operations,
               "Also show what holds each operation of a step back (task 4)");
  app.add_option("--json", options.json, "Write the plan to this file, too");
}

kit::KnownModel choose_model(const std::string& name) {
  if (!std::filesystem::is_directory(name)) return kit::find_model(name);
  return {name, name, kit::load_config(name)};
}

kit::Device choose_device(const std::string& name) {
  return name == "this-machine" ? kit::this_machine(kit::measure_ceilings()) : kit::find_device(name);
}

/// Weights of 16 bits and more are computed with as they are; narrower ones are widened to fp16.
lab01::Formats choose_formats(const Options& options) {
  lab01::Formats formats;
  formats.weights.number = kit::parse_number_format(options.dtype);
  const bool integers = formats.weights.number == kit::NumberFormat::kInt8 ||
                        formats.weights.number == kit::NumberFormat::kInt4;
  if (integers) formats.weights.group_size = options.group_size;
  formats.activations =
      kit::bits(formats.weights.number) >= 16 ? formats.weights.number : kit::NumberFormat::kFp16;
  formats.kv = options.kv_dtype.empty() ? formats.activations : kit::parse_number_format(options.kv_dtype);
  return formats;
}

std::string describe(const lab01::WeightFormat& format) {
  const std::string_view name = kit::name(format.number);
  return format.group_size == 0 ? std::string(name) : fmt::format("{} g{}", name, format.group_size);
}

/// 21474836480 -> "21,474,836,480".
std::string grouped(std::int64_t n) {
  std::string text = fmt::format("{}", n);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<std::size_t>(at), ",");
  return text;
}

double gigabytes(std::int64_t bytes) {
  return static_cast<double>(bytes) / 1e9;
}

void print_bytes(const char* what, std::int64_t bytes) {
  constexpr double kGibibyte = 1 << 30;
  fmt::print("  {:<12} {:>19} {:>9.2f} {:>9.2f}\n", what, grouped(bytes), gigabytes(bytes),
             static_cast<double>(bytes) / kGibibyte);
}

void print_asked(const lab01::Plan& plan, const kit::Device& device) {
  const lab01::Footprint& f = plan.asked.per_device;
  fmt::print("  {:<12} {:>19} {:>9} {:>9}\n", plan.asked.configuration.n_devices > 1 ? "per device" : "",
             "bytes", "GB", "GiB");
  print_bytes("weights", f.weight_bytes);
  print_bytes("KV cache", f.kv_bytes);
  print_bytes("activations", f.activation_bytes);
  print_bytes("total", f.total_bytes);
  print_bytes("memory", device.memory_bytes);
  const double spare = gigabytes(device.memory_bytes - f.total_bytes);
  fmt::print("\n{}\n", plan.asked.fits
                           ? fmt::format("fits, with {:.2f} GB to spare for driver and runtime", spare)
                           : fmt::format("does not fit: {:.2f} GB too much", -spare));
  fmt::print("largest batch at this length: {}; longest sequences in this batch: {}\n",
             plan.max_batch == 0 ? "none" : grouped(plan.max_batch),
             plan.max_seq_len == 0 ? "none" : grouped(plan.max_seq_len));
  const lab01::DecodeLimit& limit = plan.asked.limit;
  fmt::print(
      "decode limit{}, at the full context: {:.3g} ms a token, {:.4g} tokens/s a sequence, {:.4g} in all\n",
      plan.asked.fits ? "" : " (if it did fit)", limit.ms_per_token, limit.tokens_per_s_per_sequence,
      limit.tokens_per_s_total);
}

std::string_view words(lab01::Change change) {
  switch (change) {
    case lab01::Change::kNarrowerWeights:
      return "narrower weights";
    case lab01::Change::kNarrowerCache:
      return "narrower cache";
    case lab01::Change::kNarrowerBoth:
      return "both";
    case lab01::Change::kFewerSequences:
      return "fewer sequences";
    case lab01::Change::kShorterContext:
      return "shorter context";
    case lab01::Change::kMoreDevices:
      return "more devices";
  }
  return "?";
}

void print_suggestions(const lab01::Plan& plan) {
  if (plan.suggestions.empty()) return;
  fmt::print("\n{:<17} {:<10} {:<5} {:>5} {:>6} {:>7}  {:>10} {:>8} {:>9}  {:<4} {:>10}\n", "what to change",
             "weights", "cache", "batch", "tokens", "devices", "weights GB", "cache GB", "total GB", "fits",
             "tokens/s");
  for (const lab01::Suggestion& suggestion : plan.suggestions) {
    const lab01::Assessment& a = suggestion.assessment;
    const lab01::Configuration& c = a.configuration;
    fmt::print("{:<17} {:<10} {:<5} {:>5} {:>6} {:>7}  {:>10.2f} {:>8.2f} {:>9.2f}  {:<4} {:>10.4g}\n",
               words(suggestion.change), describe(c.formats.weights), kit::name(c.formats.kv), c.batch,
               c.seq_len, c.n_devices, gigabytes(a.per_device.weight_bytes), gigabytes(a.per_device.kv_bytes),
               gigabytes(a.per_device.total_bytes), a.fits ? "yes" : "no", a.limit.tokens_per_s_total);
  }
  fmt::print("GB are those on each device; tokens/s is the limit of all sequences together.\n");
}

void print_step(const char* title, const kit::ModelConfig& model, const kit::Device& device,
                const lab01::Step& step, const lab01::Formats& formats) {
  fmt::print("\n{:<28} {:>12} {:>10} {:>10}  {:<8} {:>10}\n", title, "GFLOP", "GB", "FLOP/byte", "bound",
             "floor ms");
  double floor_ms = 0.0;
  for (const lab01::Operation& operation : lab01::analyse_step(model, device, step, formats)) {
    fmt::print("  {:<26} {:>12.4g} {:>10.4g} {:>10.4g}  {:<8} {:>10.4g}\n", operation.name,
               static_cast<double>(operation.work.flops) / 1e9, gigabytes(operation.work.bytes),
               operation.intensity, operation.bound == lab01::Bound::kMemory ? "memory" : "compute",
               operation.floor_ms);
    floor_ms += operation.floor_ms;
  }
  fmt::print("  {:<26} {:>12} {:>10} {:>10}  {:<8} {:>10.4g}\n", "one after the other", "", "", "", "",
             floor_ms);
}

/// Both phases on one device.
void print_operations(const kit::ModelConfig& model, const kit::Device& device,
                      const lab01::Configuration& c) {
  print_step(fmt::format("prefill of {} tokens", c.seq_len).c_str(), model, device, {1, c.seq_len, c.seq_len},
             c.formats);
  print_step(fmt::format("decode step, batch of {}", c.batch).c_str(), model, device, {c.batch, 1, c.seq_len},
             c.formats);
  const auto batch = lab01::compute_bound_batch(model, device, c.seq_len, c.formats);
  fmt::print("decode turns compute-bound {}\n",
             batch ? "at a batch of " + grouped(*batch) : "at no batch: every sequence reads its own cache");
}

Json to_json(const lab01::Assessment& a) {
  const lab01::Configuration& c = a.configuration;
  return {{"batch", c.batch},
          {"seq_len", c.seq_len},
          {"n_devices", c.n_devices},
          {"weights", kit::name(c.formats.weights.number)},
          {"group_size", c.formats.weights.group_size},
          {"kv", kit::name(c.formats.kv)},
          {"activations", kit::name(c.formats.activations)},
          {"weight_bytes", a.per_device.weight_bytes},
          {"kv_bytes", a.per_device.kv_bytes},
          {"activation_bytes", a.per_device.activation_bytes},
          {"total_bytes", a.per_device.total_bytes},
          {"fits", a.fits},
          {"ms_per_token", a.limit.ms_per_token},
          {"tokens_per_s_per_sequence", a.limit.tokens_per_s_per_sequence},
          {"tokens_per_s_total", a.limit.tokens_per_s_total}};
}

void write_json(const std::filesystem::path& file, const kit::KnownModel& model, const kit::Device& device,
                const lab01::Plan& plan) {
  Json json = {{"schema", "memory-wall-labs/plan/1"},
               {"model", {{"name", model.name}, {"n_parameters", kit::n_parameters(model.config)}}},
               {"device",
                {{"name", device.name},
                 {"memory_bytes", device.memory_bytes},
                 {"bandwidth_bytes_per_s", device.bandwidth_bytes_per_s}}},
               {"asked", to_json(plan.asked)},
               {"max_batch", plan.max_batch},
               {"max_seq_len", plan.max_seq_len},
               {"suggestions", Json::array()}};
  for (const lab01::Suggestion& suggestion : plan.suggestions) {
    Json one = to_json(suggestion.assessment);
    one["change"] = words(suggestion.change);
    json["suggestions"].push_back(std::move(one));
  }
  std::ofstream out(file);
  out << json.dump(2) << '\n';
  KIT_CHECK(out.flush(), "cannot write {}", file.string());
}

int run(const Options& options) {
  const kit::KnownModel model = choose_model(options.model);
  const kit::Device device = choose_device(options.device);
  const std::int64_t seq_len = options.seq_len == 0 ? model.config.max_seq_len : options.seq_len;
  const lab01::Configuration asked{options.batch, seq_len, choose_formats(options), options.n_devices};
  const lab01::Plan plan = lab01::make_plan(model.config, device, asked);

  fmt::print("{}, {} parameters, on {}{}: {:.4g} GB at {:.4g} GB/s{}\n", model.title,
             grouped(kit::n_parameters(model.config)),
             asked.n_devices > 1 ? fmt::format("{} x ", asked.n_devices) : "", device.title,
             gigabytes(device.memory_bytes), device.bandwidth_bytes_per_s / 1e9,
             asked.n_devices > 1 ? " each" : "");
  fmt::print("batch of {}, {} tokens each, weights {}, keys and values {}, activations {}\n\n", asked.batch,
             seq_len, describe(asked.formats.weights), kit::name(asked.formats.kv),
             kit::name(asked.formats.activations));
  print_asked(plan, device);
  print_suggestions(plan);
  if (options.operations) print_operations(model.config, device, asked);
  if (!options.json.empty()) write_json(options.json, model, device, plan);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Plan memory and speed of a model on a device", "plan");
  Options options;
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    return run(options);
  } catch (const kit::NotImplemented& error) {
    fmt::print(stderr, "\n{}\nWrite it first (./kit grade lab01 shows where), or try --impl solutions.\n",
               error.what());
  } catch (const std::exception& error) {
    fmt::print(stderr, "\nerror: {}\n", error.what());
  }
  return 1;
}
