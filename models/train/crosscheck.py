"""Loads both shipped models with transformers and writes what the C++ code must reproduce.

    python crosscheck.py --target ../target --draft ../draft --out ../fixtures

Writes into --out: target_logits.json and draft_logits.json (one fixed list of token ids, the
argmax of every position and the full float32 logits of a few), and tokenizer.json's answers in
tokenizer_cases.json. Fails if our own training model differs from transformers, or if the two
tokenizers are not the same file.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from export import load_model

TEXT = (
    "It was the best of times, it was the worst of times.\n\n"
    '"My dear Mr. Bennet," said his lady to him one day, "have you heard that Netherfield Park '
    'is let at last?"<|endoftext|>CHAPTER I\n\nCall me Ishmael. Some years ago--never mind how long'
)
N_TOKENS = 48
LOGIT_POSITIONS = (0, 1, 17, 47)
LARGEST_DIFFERENCE = 1e-3

TOKENIZER_TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\n\n\n",
    " \n",
    "\n ",
    "\t",
    "a",
    "Hello",
    " Hello",
    "Hello ",
    "  Hello",
    "Hello  ",
    "Hello world",
    "Hello  world",
    "Hello   world\n\n  and all",
    "It was the best of times, it was the worst of times.",
    "I'm sure they've said we'll see; he'd go, she's gone, don't.",
    "I'M SURE THEY'VE SAID",
    "'tis 'twas o'clock rock'n'roll dogs' ''",
    "1",
    "1234567890",
    "In 1813, at 7:45 p.m., 3.14159 and 2,000",
    "a1b2c3",
    '"Good Heaven!" cried he; "what--is it?"',
    "!!! ??? ... --- ***",
    "snake_case, kebab-case, C++ & <tags> {braces} [x] @home #1 50% $5 ~ ^ | \\ /",
    "caf\u00e9 na\u00efve \u00e6ther \u00a3100",
    "\u201cCurly\u201d \u2018quotes\u2019 \u2014 dash\u2026",
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u0420\u0443\u0441\u0441\u043a\u0438\u0439",
    "\u4e2d\u6587\u5b57\u7b26 \u65e5\u672c\u8a9e",
    "\u00a0non-breaking\u2003em space",
    "e\u0301 combining, \u00bd \u00b2 \u2167 number letters, \u0661\u0662\u0663",
    "\U0001f600 emoji \U0001f469\u200d\U0001f52c!",
    "line one\nline two\r\nline three\r",
    "tab\tseparated\t\tvalues",
    "trailing newline\n",
    " leading and trailing ",
    "<|endoftext|>",
    "one<|endoftext|>two",
    " <|endoftext|> ",
    "<|endoftext|><|endoftext|>\n",
    "<|endoftext |> <|endof",
    "nul \x00 and bell \x07 and delete \x7f",
    "supercalifragilisticexpialidocious Zyxwvutsrqponmlkjihgfedcba",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ROMEO:\nBut, soft! what light through yonder window breaks?\n\nJULIET:\nAy me!",
]


@torch.no_grad()
def model_fixture(directory: Path, ids: list[int]) -> dict:
    reference = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    logits = reference(torch.tensor([ids])).logits[0]
    difference = (load_model(directory)(torch.tensor([ids]))[0] - logits).abs().max().item()
    assert difference < LARGEST_DIFFERENCE, f"training model differs by {difference}"
    print(f"{directory.name}: training model and transformers differ by {difference:.2e}")
    return {
        "token_ids": ids,
        "argmax": logits.argmax(-1).tolist(),
        "positions": list(LOGIT_POSITIONS),
        "logits": [[float(f"{v:.8g}") for v in logits[p].tolist()] for p in LOGIT_POSITIONS],
    }


def tokenizer_fixture(directory: Path) -> list[dict]:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    wrapped = AutoTokenizer.from_pretrained(directory)
    cases = []
    for text in TOKENIZER_TEXTS:
        ids = tokenizer.encode(text).ids
        assert wrapped(text)["input_ids"] == ids, text
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        cases.append({"text": text, "ids": ids, "decoded": decoded})
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--draft", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    tokenizer_files = [(d / "tokenizer.json").read_bytes() for d in (args.target, args.draft)]
    assert tokenizer_files[0] == tokenizer_files[1], "the two tokenizers differ"
    cases = tokenizer_fixture(args.target)
    (args.out / "tokenizer_cases.json").write_text(json.dumps(cases, indent=1) + "\n")

    tokenizer = Tokenizer.from_file(str(args.target / "tokenizer.json"))
    ids = tokenizer.encode(TEXT).ids[:N_TOKENS]
    assert len(ids) == N_TOKENS
    for name in ("target", "draft"):
        fixture = model_fixture(getattr(args, name), ids)
        (args.out / f"{name}_logits.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
