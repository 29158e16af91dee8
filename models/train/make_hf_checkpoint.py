"""Writes small random Llama checkpoints, unlike ours, with the logits that transformers computes.

    python make_hf_checkpoint.py --out ../fixtures

Each folder hf_* holds config.json, weights in safetensors and expected_logits.json: token ids and
the float32 logits of every position. They test a loader on what other people's files look like:
other dtypes, shards, tied and untied heads, head counts, rope settings, and config.json both as
it was written before transformers 5 (rope_theta, rope_scaling, torch_dtype) and since
(rope_parameters, dtype).
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

TOKEN_IDS = [1, 17, 5, 42, 8, 8, 59, 0, 33]

COMMON = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
}

CHECKPOINTS = {
    # Untied head, multi-head attention, odd sizes, another rope_theta and epsilon.
    "hf_untied_f32": {
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
        "num_key_value_heads": 3, "intermediate_size": 37, "vocab_size": 61,
        "max_position_embeddings": 100, "rope_theta": 500000.0, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False, "torch_dtype": "float32",
    },
    # Three shards and an index; head_dim * num_attention_heads != hidden_size; new-style config.
    "hf_sharded_bf16": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 48, "vocab_size": 80,
        "max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": 20000.0},
        "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "dtype": "bfloat16",
    },
    # Multi-query attention, untied head, half precision.
    "hf_mqa_f16": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 1, "intermediate_size": 64, "vocab_size": 72,
        "max_position_embeddings": 128, "rope_theta": 10000.0, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False, "torch_dtype": "float16",
    },
    # Llama 3.1 rope scaling; the frequencies fall into all three of its bands.
    "hf_rope_llama3_f32": {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 48, "vocab_size": 64,
        "max_position_embeddings": 512, "rope_theta": 10000.0, "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
        },
        "tie_word_embeddings": True, "torch_dtype": "float32",
    },
}  # fmt: skip

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
N_SHARDS = {"hf_sharded_bf16": 3}


def random_weights(config: dict, seed: int) -> dict[str, torch.Tensor]:
    """Weights large enough that logits differ clearly, norms that differ from 1."""
    generator = torch.Generator().manual_seed(seed)
    dtype = DTYPES[config.get("torch_dtype") or config["dtype"]]
    model = LlamaForCausalLM(LlamaConfig(**config))
    weights = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim == 1:
            weights[name] = (1 + 0.2 * noise).to(dtype)
        else:
            weights[name] = (noise / tensor.shape[1] ** 0.5).to(dtype)
    return weights


def save_weights(weights: dict[str, torch.Tensor], folder: Path, n_shards: int) -> None:
    """One file, or shards of about the same number of tensors with an index."""
    if n_shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(weights)
    weight_map = {}
    for shard in range(n_shards):
        file_name = f"model-{shard + 1:05d}-of-{n_shards:05d}.safetensors"
        members = names[shard::n_shards]
        save_file({n: weights[n] for n in members}, folder / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(members, file_name)
    total = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


@torch.no_grad()
def expected_logits(folder: Path) -> dict:
    """What transformers computes in float32 from the files just written."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logits = model(torch.tensor([TOKEN_IDS])).logits[0]
    rows = [[float(f"{value:.8g}") for value in row] for row in logits.tolist()]
    return {"token_ids": TOKEN_IDS, "logits": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    for name, specific in CHECKPOINTS.items():
        config = COMMON | specific
        folder = args.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_weights(random_weights(config, args.seed), folder, N_SHARDS.get(name, 1))
        (folder / "expected_logits.json").write_text(json.dumps(expected_logits(folder)) + "\n")
        for file in folder.iterdir():
            file.chmod(0o644)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{name}: {size} bytes")


if __name__ == "__main__":
    main()
