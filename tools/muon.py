"""Muon: steepest descent in the spectral norm, for convolutions.

After Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein, "Muon: an optimizer for hidden layers in neural networks"
(2024): the momentum of every weight, seen as a matrix (outputs × everything else), is replaced by the nearest
orthogonal one, found with a quintic Newton–Schulz iteration. Everything that is not such a matrix goes to Adam.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, from the article: every singular value ends between about 0.7 and 1.2."""


def orthogonal(matrix: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Nearly the orthogonal factor of a matrix's polar decomposition."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-12)
    a, b, c = QUINTIC
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon:
    """Muon for four-dimensional weights and Adam, at a twentieth of the rate, for the rest.

    Args:
        parameters: what is trained.
        rate: learning rate; 0.003 to 0.01 here.
        momentum: share of the past that is kept, with Nesterov's look ahead.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], rate: float, momentum: float = 0.9) -> None:
        everything = list(parameters)
        self.matrices = [p for p in everything if p.ndim == 4 and p.shape[0] > 1]
        chosen = {id(p) for p in self.matrices}
        self.adam = torch.optim.Adam([p for p in everything if id(p) not in chosen], rate / 20, betas=(0.9, 0.99))
        self.momenta = [torch.zeros_like(p) for p in self.matrices]
        self.momentum = momentum
        self.rate = rate

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.matrices:
            parameter.grad = None
        self.adam.zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self) -> None:
        """One step at the present `rate`."""
        for parameter, momentum in zip(self.matrices, self.momenta, strict=True):
            if parameter.grad is None:
                continue
            momentum.lerp_(parameter.grad, 1 - self.momentum)
            ahead = parameter.grad.lerp(momentum, self.momentum)
            update = orthogonal(ahead.reshape(ahead.shape[0], -1))
            gain = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
            parameter.add_(update.reshape(parameter.shape), alpha=-self.rate * gain)
        for group in self.adam.param_groups:
            group["lr"] = self.rate / 20
        self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"momenta": self.momenta, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        for own, saved in zip(self.momenta, state["momenta"], strict=True):
            own.copy_(saved)
        self.adam.load_state_dict(state["adam"])
