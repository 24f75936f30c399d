"""Steps of Adam with one scale for all entries, and clipped: AdamUniform of Large Steps (Nicolet et al. 2021).

Adam's own scale for each entry turns the noise of entries that nothing speaks of into motion as long as any other's.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BETAS = (0.9, 0.95)  # of the mean gradient and of its mean square
CLIPPED = 3.0  # times the root mean square of all mean gradients: an entry never gets a longer step than one of these


class UniformSteps:
    """The moments of a gradient.

    Attributes:
        mean: Of the gradients so far, of each entry.
        square: Of the entries of the gradients so far.
        count: Steps taken.
    """

    def __init__(self, like: Float[Tensor, "..."]) -> None:
        self.mean, self.square, self.count = torch.zeros_like(like, requires_grad=False), 0.0, 0

    def after(self, gradient: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The way along which a loss rises, in [-1, 1], after one more gradient of it."""
        self.count += 1
        self.mean = BETAS[0] * self.mean + (1 - BETAS[0]) * gradient
        self.square = BETAS[1] * self.square + (1 - BETAS[1]) * float(gradient.square().mean())
        mean = self.mean / (1 - BETAS[0] ** self.count)
        rms = (self.square / (1 - BETAS[1] ** self.count)) ** 0.5
        return (mean / max(CLIPPED * rms, 1e-30)).clamp(-1, 1)
