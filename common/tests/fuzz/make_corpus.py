"""Writes seeds for the fuzz targets: python make_corpus.py OUT

OUT/safetensors and OUT/tokenizer each get a few small valid files, so that the fuzzers start behind
the first check. Then: fuzz_tokenizer -dict=tokenizer.dict OUT/tokenizer
"""

import json
import struct
import sys
from pathlib import Path


def safetensors(header: dict, data: bytes) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def tokenizer(pre_tokenizer: dict, string_merges: bool) -> dict:
    vocab = {chr(c): c - 33 for c in range(33, 127)}
    for token in ("\u0120", "\u010a", "ab", "abc"):
        vocab[token] = len(vocab)
    merges = ["a b", "ab c"] if string_merges else [["a", "b"], ["ab", "c"]]
    added = [{"id": 100, "content": "<|e|>", "special": True, "normalized": False}]
    model = {"type": "BPE", "ignore_merges": string_merges, "vocab": vocab, "merges": merges}
    return {"added_tokens": added, "normalizer": None, "pre_tokenizer": pre_tokenizer, "model": model}


def main() -> None:
    out = Path(sys.argv[1])
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    split = {"type": "Split", "pattern": {"Regex": "\\s+|\\p{L}+"}, "behavior": "Isolated"}
    sequence = {"type": "Sequence", "pretokenizers": [split, byte_level]}
    one = {"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}
    more = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        "b": {"dtype": "BF16", "shape": [0, 3], "data_offsets": [4, 4]},
        "c": {"dtype": "I8", "shape": [3], "data_offsets": [4, 7]},
    }
    seeds = {
        "safetensors/one": safetensors(one, bytes(4)),
        "safetensors/more": safetensors(more, bytes(7)),
        "tokenizer/byte_level": json.dumps(tokenizer(byte_level, False)).encode(),
        "tokenizer/sequence": json.dumps(tokenizer(sequence, True)).encode(),
    }
    for name, content in seeds.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)


if __name__ == "__main__":
    main()
