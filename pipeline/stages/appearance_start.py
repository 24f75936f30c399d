"""Where an appearance fit starts: metal or not, and a sharp or a soft light, by small trials against the photos."""

import math
from dataclasses import dataclass, field, replace

import torch

from pipeline.config import AppearanceConfig
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_highlights import Highlights, measure_highlights
from pipeline.stages.appearance_light import FittedLight, Shadows
from pipeline.stages.appearance_pixels import Pixels
from pipeline.stages.appearance_search import left_with_metals, too_bright_by

TRIAL_STEPS, TRIAL_PIXELS = 60, 300_000  # of each hypothesis, metal or not
TRIAL_SCHEDULE = 267  # steps of the schedule that these steps begin
TRIAL_MAPS_RATE, TRIAL_LIGHT_RATE = 0.04, 0.06  # whatever the fit's are: the limit below goes with them
METAL_MUST_EXPLAIN = 0.85  # metals are rare: measured .43 for gold, 1.15 for a painted cabinet and for plastic
BESIDE_PAINT = 0.9  # left with metals: steel with a label .79, dark iron .84; others .97 to 1, 17 % metal among them
ALIKE = 1.2  # where highlights have the surface's colour, a trial need not be better: 1.03 of gold in fine relief
COLORED, OWN_COLOR, CHANGE = 0.5, 0.75, 0.2  # of such: gold .87 and .91; worn leather .58, marble .52, wood -.33
HOPELESS, LATE = 2.0, 15  # ratio half-way that no metal has: gold .9, half steel 1.9; paint 1.8 to 2.5. Steps averaged
BLURRED_DEGREE = 2  # what matt surfaces show of a light (Ramamoorthi and Hanrahan 2001)


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a fit starts.

    Attributes:
        metal: Whether the object is metal all over.
        metal_in_places: Whether it is metal beside paint.
        light: "sh" or "octahedral".
        lights: What the trial that was chosen found of each light; none where nothing was tried.
        sharp_gain_db: How much better the photos are explained by a sharp light than by the same one blurred; none
            where the settings had chosen.
        left_with_metals: Error of dielectrics and metals side by side, of that of dielectrics alone; none where that
            was not looked for.
        own_color: How much of the surface's colour its highlights have; none where that was not looked for.
    """

    metal: bool
    light: str
    metal_in_places: bool = False
    lights: list[FittedLight] = field(default_factory=list)
    sharp_gain_db: float | None = None
    left_with_metals: float | None = None
    own_color: float | None = None

    @property
    def figures(self) -> dict[str, float]:
        """The choices by name, for the stage's metrics."""
        figures = {
            "starts_as_metal": float(self.metal),
            "starts_metal_in_places": float(self.metal_in_places),
            "sharp_light": float(self.light == "octahedral"),
        }
        found = {
            "sharp_gain_db": self.sharp_gain_db,
            "left_with_metals": self.left_with_metals,
            "own_color_of_highlights": self.own_color,
        }
        return figures | {name: value for name, value in found.items() if value is not None}


def choose_start(pixels: Pixels, config: AppearanceConfig, shadows: Shadows | None, seed: int) -> Start:
    """What of metal and dielectric, sharp and soft light the photos speak for, where the settings leave it open.

    Each hypothesis is fitted, small and briefly, with a light of its own: a wrong choice cannot be undone later, as
    the light of a dielectric that mirrors 4 % is ten times too bright for a metal. With paint beside the metal it is
    too bright for both, which shows where places may be either (`left_with_metals`). A light counts as soft
    when the photos are explained no worse once it is blurred: matt balls have -.003 dB, a painted cabinet, which a
    soft light costs 4 dB relit, .011, glossy objects up to 7.7.
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
        roughness_prior=0.0,
        normal_map=False,
        texture_px=min(256, config.texture_px),
        light_map_px=min(64, config.light_map_px),
        batch_px=min(8192, config.batch_px),
        learning_rate_maps=TRIAL_MAPS_RATE,
        learning_rate_light=TRIAL_LIGHT_RATE,
    )

    def trial(metal: bool) -> AppearanceFit:
        return AppearanceFit(some, small, texture_px=small.texture_px, seed=seed, shadows=shadows, metal=metal)

    fit, metal, left, highlights = trial(metal=False), False, None, None
    if config.metal_search:
        other = trial(metal=True)
        unexplained = _compare(other, fit)
        if not config.flash:
            left = left_with_metals(fit.under, fit.lights, fit.maps, shadows)
            highlights = measure_highlights(pixels) if METAL_MUST_EXPLAIN <= unexplained < ALIKE else None
        golden = highlights is not None and _golden(highlights)
        metal = golden or unexplained < min(METAL_MUST_EXPLAIN, 1.0 if left is None else left)
        fit = other if metal else fit
    elif choosing:
        _losses(fit, TRIAL_STEPS)
    own_color = None if highlights is None else highlights.own_color
    start = Start(
        metal=metal,
        light=light,
        lights=fit.lights if fit.step else [],
        metal_in_places=not metal and left is not None and left < BESIDE_PAINT,
        left_with_metals=left,
        own_color=own_color,
    )
    if choosing:
        gain = sharpness_gain_db(fit)
        start = replace(start, light="octahedral" if gain > 0 else "sh", sharp_gain_db=gain)
    if start.metal_in_places:
        times = too_bright_by(fit.under, fit.lights, fit.maps, shadows)
        for found in fit.lights:
            found.dim(times)
    return start


def _compare(metal: AppearanceFit, dielectric: AppearanceFit) -> float:
    """Fit both; how much a metal leaves unexplained for what a dielectric does. Far behind half-way, it is given up."""
    usual, half = _losses(dielectric, TRIAL_STEPS), TRIAL_STEPS // 2
    found = _losses(metal, half)
    if _late(found) > HOPELESS * _late(usual[:half]):
        return math.inf
    return _late(_losses(metal, TRIAL_STEPS - half)) / _late(usual)


def _golden(highlights: Highlights) -> bool:
    """Whether most of the object is coloured, changes with the direction of view, and so in its own colour."""
    return highlights.colored > COLORED and highlights.own_color > OWN_COLOR and highlights.change > CHANGE


def _losses(fit: AppearanceFit, steps: int) -> list[float]:
    return [fit.advance() for _ in range(steps)]


def _late(losses: list[float]) -> float:
    """The mean of the last of some losses."""
    return sum(losses[-LATE:]) / LATE


def sharpness_gain_db(fit: AppearanceFit) -> float:
    """How much better a trial explains the photos than it does once its light is blurred."""
    sharp = fit.photo_psnr()
    kept = [light.parameter.detach().clone() for light in fit.lights]
    for light in fit.lights:
        light.blur(BLURRED_DEGREE)
    blurred = fit.photo_psnr()
    for light, parameter in zip(fit.lights, kept, strict=True):
        light.parameter.data.copy_(parameter)
    return sharp - blurred
