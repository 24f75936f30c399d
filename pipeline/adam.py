"""Adam (Kingma and Ba 2015) by torch's functional form.

To construct torch.optim.Adam takes 1.4 s, as it imports a compiler that nothing here uses.
"""

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Moments of some parameters, and the steps that they lead to.

    Attributes:
        rate: Of the next steps.
        state: `step`, `exp_avg` and `exp_avg_sq` of each parameter, as torch.optim.Adam names them.
    """

    def __init__(self, parameters: list[Tensor], *, rate: float) -> None:
        self.rate = rate
        self.state = {
            parameter: {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
            for parameter in parameters
        }

    @torch.no_grad()
    def step(self) -> None:
        """Follow the gradients that `backward` has left, and forget them."""
        moved = [parameter for parameter in self.state if parameter.grad is not None]
        states = [self.state[parameter] for parameter in moved]
        adam(
            moved,
            [torch.as_tensor(parameter.grad) for parameter in moved],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        for parameter in moved:
            parameter.grad = None
