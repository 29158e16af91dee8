"""Muon for the matrices of the layers, AdamW for the embedding and the norms.

Muon: Keller Jordan, https://kellerjordan.github.io/posts/muon/ -- momentum whose matrix is
replaced by the nearest semi-orthogonal one, found by a quintic Newton-Schulz iteration.
"""

import torch
import torch.distributed as dist


def newton_schulz(gradient: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Pushes all singular values of a matrix to about 1 and keeps its singular vectors."""
    a, b, c = 3.4445, -4.7750, 2.0315
    transpose = gradient.shape[0] > gradient.shape[1]
    x = gradient.T if transpose else gradient
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if transpose else x


class Muon(torch.optim.Optimizer):
    """Every process keeps all momenta, orthogonalises its share of them and shares the result."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            parameters = group["params"]
            updates = torch.zeros(sum(p.numel() for p in parameters))
            slots = updates.split([p.numel() for p in parameters])
            for index, (parameter, slot) in enumerate(zip(parameters, slots, strict=True)):
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                if index % dist.get_world_size() == dist.get_rank():
                    nesterov = parameter.grad.lerp(state["momentum"], group["momentum"])
                    rows, columns = parameter.shape
                    scale = max(1.0, rows / columns) ** 0.5
                    slot.copy_(scale * newton_schulz(nesterov).reshape(-1))
            dist.all_reduce(updates)
            for parameter, slot in zip(parameters, slots, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * slot.view_as(parameter))


def make_optimizers(model, muon_lr: float, adam_lr: float, weight_decay: float):
    """Splits the parameters between Muon (matrices of the layers) and AdamW (the rest)."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers." in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers." not in name]
    return [
        Muon(matrices, lr=muon_lr, weight_decay=weight_decay),
        torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
