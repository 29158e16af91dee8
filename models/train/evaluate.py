"""Measures the shipped models: bits per byte, acceptance, tokens per target call, samples.

    python evaluate.py --target ../target --draft ../draft --data DIR --out results.json

Bits per byte: all tokens of the held-out text (val.bin, end-of-text tokens included) are scored
in windows of 512 that advance by 256; a token is scored in the first window in which it has at
least 256 tokens of context (the first window is scored whole). The sum of -log2 p is divided by
the bytes of the cleaned held-out text, in which end-of-text has no bytes.

Speculation: prompts of 16 tokens at even distances in the held-out text are continued to
position 512 by real speculative decoding (Leviathan et al., 2023, Algorithm 1). Acceptance at
temperature T is the mean of sum(min(p, q)) over all positions of the text so produced, where p is
the target's distribution and q the draft's; greedy, it is the share of positions where their
argmax is the same. Tokens per target call counts the emitted tokens over the target's calls, the
call on the prompt excluded.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from export import load_model
from model import Llama

WINDOW, STRIDE, PROMPT_TOKENS = 512, 256, 16
SAMPLE_PROMPTS = (
    "Once upon a time there was a king who",
    '"My dear Watson," said Holmes,',
    "CHAPTER I\n\nThe ship had been three days out of",
)


@torch.no_grad()
def bits_per_byte(model: Llama, data: Path) -> dict:
    tokens = torch.from_numpy(np.fromfile(data / "val.bin", dtype=np.uint16).astype(np.int64))
    total_bits, n_scored = 0.0, 0
    for start in range(0, len(tokens) - 1, STRIDE):
        window = tokens[start : start + WINDOW + 1]
        skip = 0 if start == 0 else STRIDE
        if len(window) - 1 <= skip:
            break
        nats = F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="none")
        total_bits += nats[skip:].double().sum().item() / np.log(2)
        n_scored += len(nats) - skip
    n_bytes = json.loads((data / "prepare.json").read_text())["val"]["bytes"]
    return {
        "bits_per_byte": round(float(total_bits / n_bytes), 4),
        "nats_per_token": round(float(total_bits * np.log(2) / n_scored), 4),
        "tokens_scored": n_scored,
        "bytes": n_bytes,
    }


def distribution(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probabilities; temperature 0 puts all of it on the largest logit."""
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    return (logits / temperature).softmax(-1)


def sample(probabilities: torch.Tensor, generator: torch.Generator) -> int:
    return torch.multinomial(probabilities, 1, generator=generator).item()


class Decoder:
    """One model with its cache; `feed` returns the logits after the tokens it has not yet seen."""

    def __init__(self, model: Llama):
        self.model, self.caches = model, model.make_caches(1)

    def feed(self, tokens: list[int]) -> torch.Tensor:
        new = tokens[self.caches[0].length :]
        return self.model(torch.tensor([new]), self.caches)[0]

    def rewind(self, length: int) -> None:
        for cache in self.caches:
            cache.length = min(cache.length, length)


@torch.no_grad()
def speculate(target, draft, prompt, temperature, gamma, generator) -> tuple[list[int], int, int]:
    """Continues a prompt to the full context: (tokens, target calls, tokens they emitted)."""
    tokens, n_calls = list(prompt), 0
    target_decoder, draft_decoder = Decoder(target), Decoder(draft)
    target_decoder.feed(tokens[:-1])
    while len(tokens) + gamma < WINDOW:
        drafted, q = [], []
        for _ in range(gamma):
            logits = draft_decoder.feed(tokens + drafted)[-1]
            q.append(distribution(logits, temperature))
            drafted.append(sample(q[-1], generator))
        p = distribution(target_decoder.feed(tokens + drafted), temperature)
        n_calls += 1
        n_accepted = 0
        while n_accepted < gamma:
            token = drafted[n_accepted]
            u = torch.rand((), generator=generator).item()
            if u * q[n_accepted][token] >= p[n_accepted][token]:
                break
            n_accepted += 1
        if n_accepted == gamma:
            correction = p[gamma]
        else:
            correction = (p[n_accepted] - q[n_accepted]).clamp(min=0)
        tokens += drafted[:n_accepted] + [sample(correction, generator)]
        target_decoder.rewind(len(tokens) - 1)
        draft_decoder.rewind(len(tokens) - 1)
    return tokens, n_calls, len(tokens) - len(prompt)


@torch.no_grad()
def overlap(target: Llama, draft: Llama, tokens: list[int], temperature: float) -> torch.Tensor:
    """sum(min(p, q)) at every generated position of a text."""
    ids = torch.tensor([tokens[:-1]])
    p, q = (distribution(m(ids)[0, PROMPT_TOKENS - 1 :], temperature) for m in (target, draft))
    return torch.minimum(p, q).sum(-1)


def speculation(target, draft, data: Path, temperature: float, gamma: int, n_prompts: int) -> dict:
    tokens = np.fromfile(data / "val.bin", dtype=np.uint16)
    generator = torch.Generator().manual_seed(0)
    n_calls, n_emitted, overlaps = 0, 0, []
    for index in range(n_prompts):
        start = index * (len(tokens) // n_prompts)
        prompt = tokens[start : start + PROMPT_TOKENS].tolist()
        text, calls, emitted = speculate(target, draft, prompt, temperature, gamma, generator)
        n_calls, n_emitted = n_calls + calls, n_emitted + emitted
        overlaps.append(overlap(target, draft, text, temperature))
    overlaps = torch.cat(overlaps)
    a = overlaps.mean().item()
    return {
        "temperature": temperature,
        "gamma": gamma,
        "positions": len(overlaps),
        "acceptance": round(a, 4),
        "acceptance_standard_error": round((overlaps.std() / len(overlaps) ** 0.5).item(), 4),
        "target_calls": n_calls,
        "tokens_per_call": round(n_emitted / n_calls, 4),
        "formula_tokens_per_call": round((1 - a ** (gamma + 1)) / (1 - a), 4),
    }


@torch.no_grad()
def generate_text(model: Llama, tokenizer: Tokenizer, prompt: str, seed: int, n_tokens: int) -> str:
    """A sample at temperature 0.8; stops at end-of-text."""
    generator = torch.Generator().manual_seed(seed)
    ids, decoder = tokenizer.encode(prompt).ids, Decoder(model)
    for _ in range(n_tokens):
        token = sample(distribution(decoder.feed(ids)[-1], 0.8), generator)
        ids.append(token)
        if token == 0:
            break
    return tokenizer.decode(ids, skip_special_tokens=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--draft", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the --out folder of prepare.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gamma", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)

    target, draft = load_model(args.target), load_model(args.draft)
    results = {}
    for name, model in (("target", target), ("draft", draft)):
        started = time.time()
        results[name] = bits_per_byte(model, args.data)
        results[name]["parameters"] = sum(p.numel() for p in model.parameters())
        print(name, results[name], f"{time.time() - started:.0f} s", flush=True)
    results["speculation"] = []
    for temperature in (1.0, 0.8, 0.0):
        started = time.time()
        row = speculation(target, draft, args.data, temperature, args.gamma, args.prompts)
        results["speculation"].append(row)
        print(row, f"{time.time() - started:.0f} s", flush=True)
    tokenizer = Tokenizer.from_file(str(args.target / "tokenizer.json"))
    results["samples"] = [
        {"prompt": prompt, "seed": seed, "text": generate_text(target, tokenizer, prompt, seed, 160)}
        for seed, prompt in enumerate(SAMPLE_PROMPTS, start=1)
    ]
    for entry in results["samples"]:
        print(f"--- seed {entry['seed']}\n{entry['text']}")
    args.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
