#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kit/check.h"
#include "kit/tokenizer.h"

/// Any text either parses or throws kit::Error; a tokenizer that parsed can encode a piece of its own file,
/// or throws kit::Error where its vocabulary has holes, and decodes what it encoded.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = kit::Tokenizer::parse(text, "fuzz");
    // Short: a pattern with nested repeats takes long on long texts, up to its limit.
    const auto ids = tokenizer.encode(text.substr(0, std::min<std::size_t>(size, 64)));
    tokenizer.decode(ids, true);
    kit::StreamDecoder decoder(tokenizer);
    for (const int id : ids) decoder.push(id);
    decoder.finish();
  } catch (const kit::Error&) {
  }
  return 0;
}
