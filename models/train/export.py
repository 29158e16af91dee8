"""Writes a training checkpoint as a Hugging Face Llama directory, weights in float16.

    python export.py --checkpoint RUN_DIR/checkpoint.pt --data DIR --out ../target

Every file is written beside its final place and renamed, so a reader never sees half a file.
`load_model` reads such a directory back into the training model.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model import Llama, ModelConfig


def hf_config(config: ModelConfig) -> dict:
    """config.json as transformers 4 writes it; transformers 5 reads it too."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **config.to_dict(),
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "rope_scaling": None,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "use_cache": True,
        "torch_dtype": "float16",
    }


GENERATION_CONFIG = {
    "bos_token_id": 0,
    "eos_token_id": 0,
    "do_sample": True,
    "temperature": 1.0,
    "max_length": 512,
}


def replace_file(path: Path, write) -> None:
    """Calls write(temporary path), then renames it to `path`."""
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    temporary.chmod(0o644)
    os.replace(temporary, path)


def export_model(model: Llama, data: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        f"model.{name}": tensor.half().contiguous() for name, tensor in model.state_dict().items()
    }
    replace_file(
        out / "model.safetensors", lambda p: save_file(weights, p, metadata={"format": "pt"})
    )
    for name, content in (
        ("config.json", hf_config(model.config)),
        ("generation_config.json", GENERATION_CONFIG),
    ):
        replace_file(out / name, lambda p: p.write_text(json.dumps(content, indent=2) + "\n"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        replace_file(out / name, lambda p: p.write_bytes((data / name).read_bytes()))


def load_model(directory: Path) -> Llama:
    """The training model, in float32, from a directory that export_model wrote."""
    config = json.loads((directory / "config.json").read_text())
    fields = ModelConfig.__dataclass_fields__
    model = Llama(ModelConfig(**{name: config[name] for name in fields}))
    weights = load_file(directory / "model.safetensors")
    model.load_state_dict({n.removeprefix("model."): w.float() for n, w in weights.items()})
    return model.eval()


def load_checkpoint(path: Path) -> Llama:
    saved = torch.load(path)
    model = Llama(ModelConfig(**saved["config"]))
    model.load_state_dict(saved["model"])
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the --out folder of prepare.py")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    export_model(load_checkpoint(args.checkpoint), args.data, args.out)


if __name__ == "__main__":
    main()
