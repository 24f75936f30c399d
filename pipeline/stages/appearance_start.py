"""Where an appearance fit starts: metal or not, and a sharp or a soft light, by small trials against the photos."""

from dataclasses import dataclass, replace

import torch

from pipeline.config import AppearanceConfig
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_light import Shadows
from pipeline.stages.appearance_pixels import Pixels

TRIAL_STEPS, TRIAL_PIXELS = 60, 300_000  # of each hypothesis, metal or not
TRIAL_SCHEDULE = 267  # steps of the schedule that these steps begin
TRIAL_MAPS_RATE, TRIAL_LIGHT_RATE = 0.04, 0.06  # whatever the fit's are: the limit below goes with them
METAL_MUST_EXPLAIN = 0.85  # metals are rare: measured .43 for gold, 1.15 for a painted cabinet and for plastic
HOPELESS, LATE = 1.6, 15  # ratio half-way that no metal has: gold .85, mixed 1.27; paint 2.09 and 1.78. Steps averaged
BLURRED_DEGREE = 2  # what matt surfaces show of a light (Ramamoorthi and Hanrahan 2001)


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a fit starts.

    Attributes:
        metal: Whether the object is metal all over.
        light: "sh" or "octahedral".
        sharp_gain_db: How much better the photos are explained by a sharp light than by the same one blurred; none
            where the settings had chosen.
    """

    metal: bool
    light: str
    sharp_gain_db: float | None = None

    @property
    def figures(self) -> dict[str, float]:
        """The choices by name, for the stage's metrics."""
        figures = {"starts_as_metal": float(self.metal), "sharp_light": float(self.light == "octahedral")}
        return figures if self.sharp_gain_db is None else figures | {"sharp_gain_db": self.sharp_gain_db}


def choose_start(pixels: Pixels, config: AppearanceConfig, shadows: Shadows | None, seed: int) -> Start:
    """What of metal and dielectric, sharp and soft light the photos speak for, where the settings leave it open.

    Each hypothesis is fitted, small and briefly, with a light of its own: a wrong choice cannot be undone later, as
    the light of a dielectric that mirrors 4 % is ten times too bright for a metal. A light counts as soft when the
    photos are explained no worse once it is blurred: matt balls have -.003 dB, a painted cabinet, which a soft light
    costs 4 dB relit, .011, glossy objects up to 7.7.
    """
    choosing = config.light == "auto" and not config.flash  # beside a flash, the light around is what is left over
    light = "octahedral" if config.light == "auto" else config.light
    generator = torch.Generator().manual_seed(seed)
    some = pixels.batch(torch.randperm(len(pixels), generator=generator)[:TRIAL_PIXELS].to(pixels.uv.device))
    small = replace(
        config,
        light=light,
        steps=TRIAL_SCHEDULE,
        metallic_from=1.0,
        normal_map=False,
        texture_px=min(256, config.texture_px),
        light_map_px=min(64, config.light_map_px),
        batch_px=min(8192, config.batch_px),
        learning_rate_maps=TRIAL_MAPS_RATE,
        learning_rate_light=TRIAL_LIGHT_RATE,
    )

    def trial(metal: bool) -> AppearanceFit:
        return AppearanceFit(some, small, texture_px=small.texture_px, seed=seed, shadows=shadows, metal=metal)

    fit, metal = trial(metal=False), False
    if config.metal_search:
        other = trial(metal=True)
        metal = _explains_better(other, fit)
        fit = other if metal else fit
    elif choosing:
        _losses(fit, TRIAL_STEPS)
    if not choosing:
        return Start(metal=metal, light=light)
    gain = sharpness_gain_db(fit)
    return Start(metal=metal, light="octahedral" if gain > 0 else "sh", sharp_gain_db=gain)


def _explains_better(metal: AppearanceFit, dielectric: AppearanceFit) -> bool:
    """Fit both, and say whether the photos look like metal; one that is far behind half-way is given up."""
    usual, half = _losses(dielectric, TRIAL_STEPS), TRIAL_STEPS // 2
    found = _losses(metal, half)
    if _late(found) > HOPELESS * _late(usual[:half]):
        return False
    return _late(_losses(metal, TRIAL_STEPS - half)) < METAL_MUST_EXPLAIN * _late(usual)


def _losses(fit: AppearanceFit, steps: int) -> list[float]:
    return [fit.advance() for _ in range(steps)]


def _late(losses: list[float]) -> float:
    """The mean of the last of some losses."""
    return sum(losses[-LATE:]) / LATE


def sharpness_gain_db(fit: AppearanceFit) -> float:
    """How much better a trial explains the photos than it does once its light is blurred; its light stays blurred."""
    sharp = fit.photo_psnr()
    for light in fit.lights:
        light.blur(BLURRED_DEGREE)
    return sharp - fit.photo_psnr()
