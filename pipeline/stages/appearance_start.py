"""Where an appearance fit starts: metal or not, and a sharp or a soft light, by small trials against the photos."""

import copy
import math
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from pipeline.color import srgb_from_linear
from pipeline.config import AppearanceConfig
from pipeline.metrics import psnr
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_highlights import Highlights, measure_highlights
from pipeline.stages.appearance_light import FittedLight, Shadows
from pipeline.stages.appearance_pixels import Pixels, occurring
from pipeline.stages.appearance_search import METAL, left_with_metals, too_bright_by

TRIAL_STEPS, TRIAL_PIXELS = 60, 300_000  # of each hypothesis, metal or not
TRIAL_SCHEDULE = 267  # steps of the schedule that these steps begin
TRIAL_MAPS_RATE, TRIAL_LIGHT_RATE = 0.04, 0.06  # whatever the fit's are: the limit below goes with them
METAL_MUST_EXPLAIN = 0.85  # metals are rare: measured .43 for gold, 1.15 for a painted cabinet and for plastic
BESIDE_PAINT = 0.9  # left with metals: steel with a label .79, dark iron .84; others .97 to 1, 17 % metal among them
ALIKE = 1.2  # where highlights have the surface's colour, a trial need not be better: 1.03 of gold in fine relief
COLORED, OWN_COLOR, CHANGE = 0.5, 0.75, 0.2  # of such: gold .87 and .91; worn leather .58, marble .52, wood -.33
KINDS = ((0.0,), (0.0, 1.0))  # all dielectric, or metal in places
BEGUN_STEPS, SPARED = 120, 4  # of fits that begin in one way or the other; of so many photos, one is set aside
MUST_GAIN_DB = 0.1  # on these. Metals gain .18 to .41 where there are some, .04 in paint, -.01 leather, .03 marble
ALL_METAL_YIELDS_DB = 0.3  # gold .06; half steel, half red 2.0, an eighth steel 1.2, one white glaze 8, one cream 3
LEAST_METAL = 0.01  # of the pixels, that such a fit must end with: fits of paint that end alike differ by up to .14 dB
DARKER, DARKER_AT_MOST = 1.3, 3  # a light may have to be darker than closed forms say, by this factor, so many times
HOPELESS, LATE = 2.0, 15  # ratio half-way that no metal has: gold .9, half steel 1.9; paint 1.8 to 2.5. Steps averaged
BLURRED_DEGREE = 2  # what matt surfaces show of a light (Ramamoorthi and Hanrahan 2001)


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a fit starts.

    Attributes:
        metal: Whether the object is metal all over.
        metal_in_places: Whether it is metal beside paint.
        light: "sh" or "octahedral".
        lights: What the trial that was chosen found of each light, as bright as was found since; none where nothing
            was tried.
        sharp_gain_db: How much better the photos are explained by a sharp light than by the same one blurred; none
            where the settings had chosen.
        metals_gain_db: How much better photos set aside are explained where places begin as metals; none where that
            was not tried.
        left_with_metals: Error of dielectrics and metals side by side, of that of dielectrics alone; none where that
            was not looked for.
        own_color: How much of the surface's colour its highlights have; none where that was not looked for.
    """

    metal: bool
    light: str
    metal_in_places: bool = False
    lights: list[FittedLight] = field(default_factory=list)
    sharp_gain_db: float | None = None
    metals_gain_db: float | None = None
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
            "metals_gain_db": self.metals_gain_db,
            "left_with_metals": self.left_with_metals,
            "own_color_of_highlights": self.own_color,
        }
        return figures | {name: value for name, value in found.items() if value is not None}


def choose_start(pixels: Pixels, config: AppearanceConfig, shadows: Shadows | None, seed: int) -> Start:
    """What of metal and dielectric, sharp and soft light the photos speak for, where the settings leave it open.

    Each hypothesis is fitted, small and briefly, with a light of its own: a wrong choice cannot be undone later, as
    the light of a dielectric that mirrors 4 % is ten times too bright for a metal. With paint beside the metal it is
    too bright for both, which shows where places may be either (`left_with_metals`). Metal all over also mirrors what
    one bright glaze scatters, under a light that is too bright: it must stand against the others on photos set aside,
    once their light is as bright as it is.

    A light counts as soft when the photos are explained no worse once it is blurred: matt balls have -.003 dB, a
    painted cabinet, which a soft light costs 4 dB relit, 1.1, a leather helmet .03, glossy objects up to 7.7.
    """
    choosing = config.light == "auto" and not config.flash  # beside a flash, the light around is what is left over
    light = "octahedral" if config.light == "auto" else config.light
    trials = _trials(pixels, replace(config, light=light), shadows, seed)
    fit, metal, left, highlights, contest = trials.fit(), False, None, None, None
    if config.metal_search:
        other = trials.fit(metal=True)
        unexplained = _compare(other, fit)
        if not config.flash:
            left = left_with_metals(fit.under, fit.lights, fit.maps, shadows)
            highlights = measure_highlights(pixels) if METAL_MUST_EXPLAIN <= unexplained < ALIKE else None
        golden = highlights is not None and _golden(highlights)
        metal = golden or unexplained < min(METAL_MUST_EXPLAIN, 1.0 if left is None else left)
        if left is not None and not golden:
            contest = _contest(fit, other if metal else None, left, trials)
            metal = contest.best.fit.metal
        fit = contest.best.fit if contest is not None else other if metal else fit
    elif choosing:
        _losses(fit, TRIAL_STEPS)
    start = Start(
        metal=metal,
        light=light,
        metal_in_places=fit.metal_in_places,
        lights=[] if fit.step == 0 else fit.lights if contest is None else contest.best.lights,
        metals_gain_db=None if contest is None else contest.metals_gain_db,
        left_with_metals=left,
        own_color=None if highlights is None else highlights.own_color,
    )
    if choosing:
        gain = sharpness_gain_db(fit)
        start = replace(start, light="octahedral" if gain > 0 else "sh", sharp_gain_db=gain)
    return start


@dataclass(frozen=True, eq=False, kw_only=True)
class _Trials:
    """What small fits take: some of the pixels, settings of their own, shadows and the seed."""

    pixels: Pixels
    config: AppearanceConfig
    shadows: Shadows | None
    seed: int
    begun_steps: int

    def fit(self, *, metal: bool = False) -> AppearanceFit:
        size = self.config.texture_px
        return AppearanceFit(
            self.pixels, self.config, texture_px=size, seed=self.seed, shadows=self.shadows, metal=metal
        )


def _trials(pixels: Pixels, config: AppearanceConfig, shadows: Shadows | None, seed: int) -> _Trials:
    generator = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(pixels), generator=generator)[:TRIAL_PIXELS].to(pixels.uv.device)
    small = replace(
        config,
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
    return _Trials(
        pixels=pixels.batch(some),
        config=small,
        shadows=shadows,
        seed=seed,
        begun_steps=min(BEGUN_STEPS, config.steps),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Begun:
    """A fit that went on for a while under a light so many times darker than a trial's, and what it explains."""

    fit: AppearanceFit
    lights: list[FittedLight]
    times: float
    explained_db: float

    @property
    def metal_share(self) -> float:
        """Of the surface that the fit learns from."""
        uv = torch.cat([pixels.uv for pixels in self.fit.under])
        return float((self.fit.maps(uv)[:, 4] > METAL).float().mean())


@dataclass(frozen=True, eq=False, kw_only=True)
class _Contest:
    """The fit that was begun best, and what metals in places gain; none where that was not tried."""

    best: _Begun
    metals_gain_db: float | None


def _contest(fit: AppearanceFit, metal: AppearanceFit | None, left: float, trials: _Trials) -> _Contest:
    """How bright the light is, and whether a fit begins as dielectric, with metals in places or as metal all over.

    The light of a dielectric trial is too bright or too dark by what the object is darker or brighter than the base
    colour that all began with. Closed forms tell by how much, but are misled by the blur of such a light: where they
    do not find metals for certain, the square root is taken, and photos that they do not learn from tell the rest.

    Args:
        fit: The dielectric trial.
        metal: The trial of metal all over, where that suits.
        left: Error of dielectrics and metals side by side, of that of dielectrics alone.
        trials: What new fits take.
    """
    certain, spared, steps = left < BESIDE_PAINT, _spared(trials.pixels), trials.begun_steps
    config = replace(trials.config, steps=steps, metallic_from=0.0, metal_search=False, exposure="off")
    learning = replace(trials, pixels=trials.pixels.batch(~spared), config=config)

    def begun(trial: AppearanceFit, times: float, *, in_places: bool = False) -> _Begun:
        lights, other = _dimmed(trial.lights, times), learning.fit(metal=trial.metal)
        other.begin_under(lights, metal_in_places=in_places)
        _losses(other, steps)
        explained = _explained_db(other, trials.pixels.batch(spared))
        return _Begun(fit=other, lights=lights, times=times, explained_db=explained)

    def paint(*, in_places: bool) -> _Begun:
        times = too_bright_by(fit.under, fit.lights, fit.maps, trials.shadows, metallic=KINDS[in_places])
        return begun(fit, times if certain else math.sqrt(times), in_places=in_places)

    best, gain = paint(in_places=certain), None
    if bool(spared.any()):
        if not certain:
            other = paint(in_places=True)
            gain = other.explained_db - best.explained_db
            if gain > MUST_GAIN_DB and other.metal_share > LEAST_METAL:
                best = other
        for _ in range(DARKER_AT_MOST):
            other = begun(fit, best.times * DARKER, in_places=best.fit.metal_in_places)
            if other.explained_db < best.explained_db + MUST_GAIN_DB:
                break
            best = other
    if metal is not None:
        all_over = begun(metal, 1.0)
        if not best.explained_db > all_over.explained_db + ALL_METAL_YIELDS_DB:  # nor where no photo was set aside
            best = all_over
    return _Contest(best=best, metals_gain_db=gain)


def _dimmed(lights: list[FittedLight], times: float) -> list[FittedLight]:
    """Copies of lights, so many times darker."""
    lights = copy.deepcopy(lights)
    for light in lights:
        light.dim(times)
    return lights


def _spared(pixels: Pixels) -> Bool[Tensor, "pixels"]:
    """Which pixels are of every fourth photo under each light."""
    spared = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.uv.device)
    if pixels.view is not None:
        for own in _of_lights(pixels):
            spared |= own & torch.isin(pixels.view, occurring(pixels.view[own])[SPARED - 1 :: SPARED])
    return spared


def _of_lights(pixels: Pixels) -> list[Bool[Tensor, "pixels"]]:
    """Which pixels were photographed under each light."""
    if pixels.light_index is None:
        return [torch.ones(len(pixels), dtype=torch.bool, device=pixels.uv.device)]
    return [pixels.light_index == k for k in occurring(pixels.light_index)]


def _explained_db(fit: AppearanceFit, pixels: Pixels) -> float:
    """PSNR in dB, in sRGB, of pixels of any light by a fit that has not learned from them; of none, not a number."""
    if len(pixels) == 0:
        return math.nan
    under = [pixels.batch(own) for own in _of_lights(pixels)]
    colors = torch.cat([own.exposed(fit.look(own).color) for own in under])
    target = torch.cat([own.target for own in under])
    return psnr(srgb_from_linear(colors).clamp(0, 1), srgb_from_linear(target))


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
