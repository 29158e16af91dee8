"""Trains the target or the draft on the next token, or the draft on the target's distributions.

    OMP_NUM_THREADS=1 torchrun --standalone --nproc_per_node=2 train.py \
        --data DIR --preset target --out RUN_DIR
    OMP_NUM_THREADS=1 torchrun --standalone --nproc_per_node=2 train.py \
        --data DIR --preset draft --out RUN_DIR2 --init RUN_DIR/checkpoint.pt \
        --teacher ../target --generated DIR/generated.bin --tv_weight 0.8

Two single-threaded processes that average their gradients are much faster on two cores than one
process with two threads. The learning rate warms up, stays constant, and falls linearly to zero
over --decay_steps, either at the end of --steps or as soon as the file RUN_DIR/DECAY exists (it
may hold another number of decay steps). RUN_DIR/checkpoint.pt resumes a run exactly.
"""

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from distill import distillation_loss
from export import load_checkpoint, load_model
from generate import ROW
from model import PRESETS, Llama
from optim import make_optimizers


class Windows:
    """Shuffled, non-overlapping windows of a token file, each with one token more as last target.

    In running text each epoch starts at a new offset; generated text is cut where its rows end.
    """

    def __init__(self, path: Path, length: int, seed: int, rows: bool = False):
        self.tokens = np.fromfile(path, dtype=np.uint16).astype(np.int64)
        self.length, self.seed = length, seed
        self.stride, self.max_offset = (ROW, 1) if rows else (length, length)
        self.per_epoch = (len(self.tokens) - self.max_offset) // self.stride
        self.epoch, self.starts = -1, np.empty(0)

    def __getitem__(self, index: int) -> np.ndarray:
        epoch, position = divmod(index, self.per_epoch)
        if epoch != self.epoch:
            rng = np.random.default_rng([self.seed, epoch])
            offset = rng.integers(self.max_offset)
            self.starts = offset + self.stride * rng.permutation(self.per_epoch)
            self.epoch = epoch
        start = self.starts[position]
        return self.tokens[start : start + self.length + 1]

    def batch(self, first: int, count: int) -> torch.Tensor:
        return torch.from_numpy(np.stack([self[first + i] for i in range(count)]))


def average_gradients(parameters: list[torch.nn.Parameter], divisor: int) -> None:
    """Sums all gradients over the processes and divides them."""
    flat = torch.cat([p.grad.reshape(-1) for p in parameters])
    dist.all_reduce(flat)
    flat /= divisor
    for parameter, grad in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad.copy_(grad.view_as(parameter))


def cross_entropy(model: Llama, batch: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood in nats."""
    logits = model(batch[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


@torch.no_grad()
def quick_validation_loss(model: Llama, windows: Windows, count: int) -> float:
    """Nats per token on the first windows of the held-out text, shared between the processes."""
    rank, world = dist.get_rank(), dist.get_world_size()
    total = torch.zeros(1)
    for index in range(rank * 4, count, world * 4):
        rows = [windows.tokens[i * 512 : i * 512 + 513] for i in range(index, index + 4)]
        total += 4 * cross_entropy(model, torch.from_numpy(np.stack(rows)))
    dist.all_reduce(total)
    return total.item() / count


class Schedule:
    """Warm-up, constant, linear decay to zero; the decay can be started by a file."""

    def __init__(self, steps: int, warmup_steps: int, decay_steps: int):
        self.end, self.warmup_steps, self.decay_steps = steps, warmup_steps, decay_steps

    def start_decay(self, step: int, decay_steps: int) -> None:
        self.end, self.decay_steps = step + decay_steps, decay_steps

    def decaying(self, step: int) -> bool:
        return step >= self.end - self.decay_steps

    def factor(self, step: int) -> float:
        return min(1.0, (step + 1) / self.warmup_steps, (self.end - step) / self.decay_steps)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the --out folder of prepare.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", choices=PRESETS, default="target")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--warmup_steps", type=int, default=50)
    parser.add_argument("--decay_steps", type=int, default=800)
    parser.add_argument("--batch_windows", type=int, default=16, help="over all processes")
    parser.add_argument("--micro_windows", type=int, default=4)
    parser.add_argument("--muon_lr", type=float, default=0.02)
    parser.add_argument("--adam_lr", type=float, default=0.003)
    parser.add_argument("--weight_decay", type=float, default=0.025)
    parser.add_argument("--init", type=Path, help="checkpoint to start from")
    parser.add_argument("--teacher", type=Path, help="model directory to distil from")
    parser.add_argument("--generated", type=Path, help="half of every batch, from generate.py")
    parser.add_argument("--tv_weight", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint_every", type=int, default=100)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint_path, decay_file = args.out / "checkpoint.pt", args.out / "DECAY"

    torch.manual_seed(args.seed)
    config = PRESETS[args.preset]
    model = load_checkpoint(args.init) if args.init else Llama(config)
    parameters = list(model.parameters())
    optimizers = make_optimizers(model, args.muon_lr, args.adam_lr, args.weight_decay)
    base_lrs = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    schedule = Schedule(args.steps, args.warmup_steps, args.decay_steps)
    length = config.max_position_embeddings
    sources = [Windows(args.data / "train.bin", length, args.seed)]
    if args.generated:
        sources.append(Windows(args.generated, length, args.seed, rows=True))
    val = Windows(args.data / "val.bin", length, args.seed)
    loss_of = cross_entropy
    if args.teacher:
        teacher = load_model(args.teacher)
        loss_of = partial(distillation_loss, target=teacher, tv_weight=args.tv_weight)
    loss_of = torch.compile(loss_of, dynamic=False)

    step, train_seconds = 0, 0.0
    if checkpoint_path.exists():
        saved = torch.load(checkpoint_path)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        schedule.__dict__ = saved["schedule"]
        step, train_seconds = saved["step"], saved["train_seconds"]

    def save_checkpoint() -> None:
        temporary = checkpoint_path.with_suffix(".tmp")
        state = {
            "config": config.to_dict(),
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "schedule": schedule.__dict__,
            "step": step,
            "train_seconds": train_seconds,
        }
        torch.save(state, temporary)
        os.replace(temporary, checkpoint_path)

    per_rank = args.batch_windows // world
    n_micro = per_rank // args.micro_windows
    running_loss, since, first_step = 0.0, time.time(), step
    while step < schedule.end:
        started = time.time()
        count = per_rank // len(sources)
        first = (step * world + rank) * count
        batch = torch.cat([source.batch(first, count) for source in sources])
        loss_sum = torch.zeros(1)
        model.zero_grad()
        for micro in batch.split(args.micro_windows):
            loss = loss_of(model, micro)
            loss.backward()
            loss_sum += loss.detach()
        average_gradients(parameters, world * n_micro)
        for optimizer, base_lr in zip(optimizers, base_lrs, strict=True):
            optimizer.param_groups[0]["lr"] = base_lr * schedule.factor(step)
            optimizer.step()
        step += 1
        running_loss += loss_sum.item() / n_micro
        train_seconds += time.time() - started

        if step % 10 == 0:
            decay_request = torch.zeros(1, dtype=torch.int64)
            if rank == 0 and decay_file.exists() and not schedule.decaying(step):
                decay_request += int(decay_file.read_text().strip() or args.decay_steps)
            dist.broadcast(decay_request, 0)
            if decay_request:
                schedule.start_decay(step, decay_request.item())
        if step % args.checkpoint_every == 0 or step == schedule.end:
            loss = quick_validation_loss(model, val, count=32)
            if rank == 0:
                n_steps = step - first_step
                line = {
                    "step": step,
                    "tokens": step * args.batch_windows * length,
                    "train_loss": round(running_loss / n_steps, 4),
                    "val_loss": round(loss, 4),
                    "lr_factor": round(schedule.factor(step - 1), 4),
                    "tokens_per_s": round(
                        n_steps * args.batch_windows * length / (time.time() - since)
                    ),
                    "train_seconds": round(train_seconds),
                }
                print(json.dumps(line), flush=True)
                with open(args.out / "log.jsonl", "a") as log:
                    log.write(json.dumps(line) + "\n")
                save_checkpoint()
            running_loss, since, first_step = 0.0, time.time(), step
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
