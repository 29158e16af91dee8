"""Lets the target write text for the draft to learn from.

    OMP_NUM_THREADS=1 torchrun --standalone --nproc_per_node=2 generate.py \
        --target ../target --data DIR --out DIR/generated.bin --rows 1024

Every row has 513 tokens: a prompt of 16 tokens from a random place of the training text and the
target's continuation to the full context, plus one target for the last position. Of every 16
rows, 10 are sampled at temperature 1, 4 at 0.8 and 2 greedily.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from export import load_model
from model import Llama

ROW, PROMPT_TOKENS, BATCH = 513, 16, 64
TEMPERATURES = torch.tensor([1.0] * 10 + [0.8] * 4 + [0.0] * 2).repeat(BATCH // 16)


@torch.no_grad()
def generate_rows(model: Llama, prompts: torch.Tensor) -> torch.Tensor:
    """Prompts [BATCH, PROMPT_TOKENS] -> rows [BATCH, ROW]."""
    caches = model.make_caches(BATCH)
    rows = new = prompts
    while rows.shape[1] < ROW:
        logits = model(new, caches)[:, -1]
        # Gumbel noise, scaled by the temperature, makes argmax an exact sample.
        gumbel = -torch.empty_like(logits).exponential_().log()
        new = (logits + TEMPERATURES[:, None] * gumbel).argmax(-1, keepdim=True)
        rows = torch.cat((rows, new), dim=1)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the --out folder of prepare.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(args.seed * world + rank)
    rng = np.random.default_rng([args.seed, rank])
    model = load_model(args.target)
    tokens = np.fromfile(args.data / "train.bin", dtype=np.uint16).astype(np.int64)
    n_batches = args.rows // (BATCH * world)
    rows = torch.empty(n_batches * BATCH, ROW, dtype=torch.int32)
    for index in range(n_batches):
        starts = rng.integers(len(tokens) - PROMPT_TOKENS, size=BATCH)
        prompts = np.stack([tokens[s : s + PROMPT_TOKENS] for s in starts])
        batch = generate_rows(model, torch.from_numpy(prompts))
        rows[index * BATCH : (index + 1) * BATCH] = batch
        print(f"process {rank}: {(index + 1) * BATCH} rows", flush=True)
    gathered = [torch.empty_like(rows) for _ in range(world)]
    dist.all_gather(gathered, rows)
    if rank == 0:
        torch.cat(gathered).numpy().astype(np.uint16).tofile(args.out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
