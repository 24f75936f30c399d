"""How much brighter each photo was exposed than the others of its light: what EXIF tells, and what the fit finds."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.adam import Adam
from pipeline.stages.appearance_overlap import measured_gains, observed
from pipeline.stages.appearance_pixels import Pixels, occurring

UNLOCK_AT = 0.4  # share of the steps after which gains are fitted: when the light explains what light can explain
SPREAD = 0.02  # deviation of the photos, natural logarithms, up to which it is misfit: .005 measured of like photos
METAL_SPREAD = 0.25  # likewise of metal, whose photos differ by what they mirror: .16 measured where exposures agreed
SAMPLE_PIXELS = 300_000
RATE = 0.002  # of Adam, natural logarithms a step
DARK, BRIGHT = 0.01, 0.96  # linear; outside, noise and clipping tell nothing of the exposure
LEAST_PIXELS = 30  # of a photo to say something of its exposure
BORNE_OUT = 0.5  # slope of how bright photos are over how bright EXIF says they are: nearer to 1 than to 0


@torch.no_grad()
def told_exposures_hold(pixels: Pixels) -> bool:
    """Whether photos show the same places as much brighter as their known exposures say.

    They do not where somebody made photos alike after they were taken, or a camera did so with its tone curve.

    Args:
        pixels: Of all photos, in any order.
    """
    if pixels.exposure is None or pixels.view is None:
        return False
    shown = observed(pixels)
    if len(shown.view) == 0:
        return False
    found, told = measured_gains(shown).log()[:, 0], pixels.exposure.log().mean(1)
    shared = square = 0.0
    light = torch.zeros_like(pixels.view) if pixels.light_index is None else pixels.light_index
    for k in occurring(light):
        own = occurring(pixels.view[light == k])
        own = own[own < len(found)]
        off = told[own] - told[own].mean()
        shared, square = shared + float((off * found[own]).sum()), square + float(off.square().sum())
    return shared > BORNE_OUT * square


class Exposure:
    """A gain for each photo and channel, zero in the mean over the photos of one light, which would else take part.

    Attributes:
        log_gain: Natural logarithms of the gains beside the known ones; zero until `unlock`.
        free: Whether they are fitted.
        spread: Deviation of the photos that `unlock` saw, in natural logarithms.
    """

    def __init__(self, under: list[Pixels], mode: str, *, metal: bool = False) -> None:
        """Start neutral.

        Args:
            under: The pixels under each light.
            mode: "on", "off", or "auto": on when the photos differ.
            metal: Whether the object is metal but for some places.
        """
        known = all(pixels.view is not None for pixels in under)
        self.mode = mode if known else "off"
        self.views = [occurring(pixels.view) for pixels in under if pixels.view is not None] if known else []
        count = max((int(views.max()) + 1 for views in self.views), default=0)
        self.log_gain = torch.zeros(count, 3, device=under[0].uv.device).requires_grad_()
        self.optimizer = Adam([self.log_gain], rate=RATE)
        self.free, self.spread, self._limit = False, 0.0, METAL_SPREAD if metal else SPREAD

    @property
    def drift_ev(self) -> float:
        """The largest gain in stops."""
        return float(self.log_gain.detach().abs().max()) / math.log(2) if self.free else 0.0

    def applied(self, color: Float[Tensor, "pixels 3"], pixels: Pixels) -> Float[Tensor, "pixels 3"]:
        """What the photos of the pixels make of radiance."""
        color = pixels.exposed(color)
        if not self.free or pixels.view is None:
            return color
        return color * torch.exp(self.log_gain).index_select(0, pixels.view.long())  # [] sums gradients in any order

    def gains(self, known: list[Float[Tensor, "3"]]) -> Float[Tensor, "views 3"] | None:
        """Known and fitted gains of all photos together, on the CPU; none when all are 1.

        Args:
            known: Of every photo, those too that the fit did not learn from.
        """
        gains = torch.stack(known)
        if self.free:
            gains[: len(self.log_gain)] *= torch.exp(self.log_gain.detach().cpu())
        return None if bool((gains == 1).all()) else gains

    @torch.no_grad()
    def unlock(self, samples: list[tuple[Pixels, Float[Tensor, "pixels 3"]]]) -> None:
        """Start from the medians of photo / prediction, where the mode or their spread says that gains differ.

        Args:
            samples: Some pixels of each light with the colours that the fit predicts for them.
        """
        if self.mode == "off":
            return
        for pixels, color in samples:
            self._measure(pixels, pixels.exposed(color))
        self._center()
        told = torch.cat([self.log_gain[views] for views in self.views])
        self.spread = float(told.mean(1).square().mean().sqrt())
        self.free = self.mode == "on" or self.spread > self._limit
        if not self.free:
            self.log_gain.zero_()

    def _measure(self, pixels: Pixels, color: Float[Tensor, "pixels 3"]) -> None:
        usable = ((pixels.target > DARK) & (pixels.target < BRIGHT) & (color > DARK)).all(1)
        view = torch.as_tensor(pixels.view)[usable]
        ratio = torch.log(pixels.target[usable] / color[usable])
        for k in view.unique():
            own = ratio[view == k]
            if len(own) >= LEAST_PIXELS:
                self.log_gain[int(k)] = own.median(0).values

    def step(self) -> None:
        """Follow the gradient of the loss, which `backward` has left."""
        if self.free:
            self.optimizer.step()
            self._center()

    @torch.no_grad()
    def _center(self) -> None:
        for views in self.views:
            self.log_gain[views] -= self.log_gain[views].mean(0)

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name; the entries share memory with it."""
        moments = {f"adam.{k}": v for k, v in self.optimizer.state[self.log_gain].items()}
        return {"log_gain": self.log_gain.data, "free": torch.tensor([self.free, self.spread])} | moments

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Take over what `state` told."""
        self.log_gain.data.copy_(saved["log_gain"])
        self.free, self.spread = bool(saved["free"][0]), float(saved["free"][1])
        moments = {k.removeprefix("adam."): v.clone() for k, v in saved.items() if k.startswith("adam.")}
        if moments:
            self.optimizer.state[self.log_gain] = moments
