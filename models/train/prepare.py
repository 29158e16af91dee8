"""Cleans the corpus, holds out the end of every file, trains the tokenizer, writes token files.

    python prepare.py --corpus DIR --out DIR

Writes into --out: tokenizer.json, tokenizer_config.json, train.bin and val.bin (uint16 token
ids), train.txt and val.txt (the cleaned text) and prepare.json (sizes).

The last 2 % of the characters of every file are cut off before anything else happens and are
seen neither by the tokenizer nor by a model.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
VOCAB_SIZE = 2048
VALIDATION_SHARE = 0.02

ASCII_FOR = {
    "\u201c": '"', "\u201d": '"', "\u00ab": '"', "\u00bb": '"',
    "\u2018": "'", "\u2019": "'",
    "\u2014": "--", "\u2013": "-", "\u2026": "...",
    "\u00e6": "ae", "\u00c6": "Ae", "\u0153": "oe",
    "\u00e0": "a", "\u00e1": "a", "\u00e2": "a", "\u00e4": "a",
    "\u00e8": "e", "\u00e9": "e", "\u00ea": "e", "\u00eb": "e",
    "\u00ef": "i", "\u00f1": "n", "\u00f4": "o", "\u00f6": "o", "\u00fc": "u",
}  # fmt: skip
TO_ASCII = str.maketrans(ASCII_FOR)

# A paragraph whose longest line is shorter than this was not wrapped by a margin: it is verse,
# a play or a list, and keeps its line breaks.
SHORTEST_WRAPPED_LINE = 56

NUMERAL = r"(?:[IVXLC]+|\d+)"
NAMED_HEADING = re.compile(
    rf"^(?:CHAPTER|Chapter|BOOK|Book|STAVE|VOLUME|PART|ADVENTURE|Letter)\s+(?:the\s+|THE\s+)?"
    rf"(?:{NUMERAL}|[A-Z][A-Za-z]+)\b.{{0,60}}$"
)
NUMBERED_HEADING = re.compile(rf"^{NUMERAL}(?:(?:\.|--)\s*[A-Z][^.!?]{{0,60}})?\.?$")
CAPITALS_HEADING = re.compile(r"^[A-Z][A-Z '\-,.&]{5,60}$")
# The running title of a scanned book, with the page number, and the empty lines around it.
PAGE_HEADER = re.compile(r"\n\s*(?:\d+ OLIVER TWIST\.|OLIVER TWIST\. \d*)\s*\n\s*")


def to_plain_ascii(text: str) -> str:
    """Quotes and dashes become ASCII; every character that is left over is dropped."""
    text = text.replace("\r\n", "\n").translate(TO_ASCII)
    return re.sub(r"[^\n\x20-\x7e]", "", text.replace("\t", " "))


def clean_paragraph(lines: list[str]) -> str:
    """Joins hard-wrapped lines, or keeps them where the text is set in short lines."""
    lines = [re.sub(r" {2,}", " ", line.strip()) for line in lines]
    wrapped = max(map(len, lines)) >= SHORTEST_WRAPPED_LINE
    text = (" " if wrapped else "\n").join(lines)
    if wrapped:
        text = re.sub(r"(?<=[a-z])- (?=[a-z])", "", text)  # words divided at a line end
    text = re.sub(r"(?<=\w) ([;:!?])", r"\1", text)
    return text.replace("&;c", "&c")


def is_heading(paragraph: str) -> bool:
    """True for a title that opens a chapter or a story."""
    first_line, _, rest = paragraph.partition("\n")
    if len(rest) > 60:
        return False
    patterns = (NAMED_HEADING, NUMBERED_HEADING, CAPITALS_HEADING)
    return any(pattern.match(first_line) for pattern in patterns)


def clean(raw: str) -> list[str]:
    """Raw text of one file -> its chapters or stories, each a string of paragraphs."""
    text = to_plain_ascii(raw)
    text = PAGE_HEADER.sub("\n", text)
    text = re.sub(r"\[Illustration[^\]]*\]", "", text)
    text = text.replace("_", "")
    pieces: list[list[str]] = [[]]
    after_heading = True
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.split("\n") if line.strip()]
        if not lines:
            continue
        paragraph = clean_paragraph(lines)
        heading = is_heading(paragraph)
        if heading and not after_heading:
            pieces.append([])
        pieces[-1].append(paragraph)
        after_heading = heading
    return ["\n\n".join(piece) for piece in pieces if piece]


def split_file(path: Path) -> tuple[list[str], list[str]]:
    """Cleaned training pieces and cleaned validation pieces of one file."""
    raw = path.read_bytes().decode("utf-8", errors="ignore")
    cut = len(raw) - int(len(raw) * VALIDATION_SHARE)
    return clean(raw[:cut]), clean(raw[cut:])


def train_tokenizer(pieces: list[str]) -> Tokenizer:
    """Byte-level BPE with GPT-2's pattern; id 0 is the only special token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(pieces, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, pieces: list[str]) -> np.ndarray:
    """Token ids of all pieces, each followed by the end-of-text token."""
    ids = []
    for piece in pieces:
        ids += tokenizer.encode(piece).ids + [0]
    return np.array(ids, dtype=np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of .txt files")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    splits: dict[str, list[str]] = {"train": [], "val": []}
    for path in sorted(args.corpus.glob("*.txt")):
        for name, pieces in zip(splits, split_file(path), strict=True):
            splits[name] += pieces

    tokenizer = train_tokenizer(splits["train"])
    tokenizer.save(str(args.out / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
    }
    (args.out / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")

    sizes = {}
    for name, pieces in splits.items():
        ids = encode(tokenizer, pieces)
        ids.tofile(args.out / f"{name}.bin")
        (args.out / f"{name}.txt").write_text(END_OF_TEXT.join(pieces))
        text_bytes = sum(len(piece.encode()) for piece in pieces)
        sizes[name] = {"pieces": len(pieces), "tokens": len(ids), "bytes": text_bytes}
    (args.out / "prepare.json").write_text(json.dumps(sizes, indent=2) + "\n")
    print(json.dumps(sizes, indent=2))


if __name__ == "__main__":
    main()
