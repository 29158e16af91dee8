"""What the draft minimises when it learns from the target instead of from the text."""

import torch

from model import Llama


def distillation_loss(
    draft: Llama, batch: torch.Tensor, target: Llama, tv_weight: float
) -> torch.Tensor:
    """(1 - tv_weight) * KL(p || q) + tv_weight * TV(p, q), the mean over all positions.

    p is the target's distribution and q the draft's. 1 - TV = sum(min(p, q)) is the probability
    that speculative decoding accepts a token of the draft, so TV is the loss that counts; KL has
    the better gradients while the two are still far apart.
    """
    ids = batch[:, :-1]
    with torch.no_grad():
        log_p = target(ids).log_softmax(-1)
        p = log_p.exp()
    log_q = draft(ids).log_softmax(-1)
    kl = (p * (log_p - log_q)).sum(-1).mean()
    tv = 0.5 * (p - log_q.exp()).abs().sum(-1).mean()
    return (1 - tv_weight) * kl + tv_weight * tv
