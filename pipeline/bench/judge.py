"""Judging a finished run against the truth: views, maps, relit views, surface."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.bench.figures import Traced, ViewFigures, angles_deg, compare, compare_colors, light_factors
from pipeline.bench.finished_run import FinishedRun, read_run
from pipeline.bench.seen_maps import SeenMaps, seen_maps
from pipeline.bench.sheets import write_map_sheet, write_relit_sheet
from pipeline.bench.surfaces import compare_surfaces
from pipeline.bench.tracer import Tracer
from pipeline.bench.truth import TrueLight, TrueMaps, TrueView, Truth
from pipeline.errors import InputError
from pipeline.formats.light_maps import read_light
from pipeline.formats.ply import read_ply
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Camera

SHEETS = 3
_SEED = 0
T = TypeVar("T")
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How many views are looked at, and how closely.

    Attributes:
        views: Test views, spread evenly over those of the capture.
        relit_views: Relit views likewise.
        samples: Paths per pixel; half of them for each of the two pictures of a view.
    """

    views: int = 6
    relit_views: int = 6
    samples: int = 32


@dataclass(frozen=True, eq=False, kw_only=True)
class Judge:
    """A capture with truth, ready to judge runs of it.

    Attributes:
        truth: The capture.
        effort: How closely.
        rasterizer: Shows the asset's maps.
        progress: Is told the share that is done, and what comes next.
    """

    truth: Truth
    effort: Effort
    rasterizer: Rasterizer
    progress: Callable[[float, str], None]

    def judge(self, run: Path, sheets: Path) -> Record:
        """All figures of a run's folder or of a GLB, and sheets of pictures in a folder.

        Raises:
            UsageError: When Mitsuba is missing.
            InputError: When the run or the truth cannot be used.
        """
        found = read_run(run, self.truth)
        tracer = Tracer(found.placed)
        tests = spread(self.truth.tests, self.effort.views)
        relit = spread([v for v in self.truth.relit if v.light is not None], self.effort.relit_views)
        total = len(tests) + len(relit) + 1
        ticks = iter(range(total))

        def tick(what: str) -> None:
            self.progress(next(ticks) / total, what)

        record: Record = {
            "triangles": len(found.placed.mesh.faces),
            "vertices": len(found.placed.mesh.vertices),
            "glb_mib": found.size_mib,
            "alignment": None if found.alignment is None else _alignment(found),
        }
        pictures, told = self._views(tracer, found, tests, tick)
        maps = [(self.truth.maps(view), seen_maps(found.placed, view.camera, self.rasterizer)) for view in tests]
        record |= told | _map_figures(maps)
        for view, picture, (true, seen) in list(zip(tests, pictures, maps, strict=True))[:SHEETS]:
            write_map_sheet(sheets / f"view_{view.name}.png", picture, view.pixels(), true, seen)
        record |= self._relit(tracer, relit, tick, sheets)
        tick("surface")
        record["surface"] = self._surface(found, [true for true, _ in maps])
        return record

    def _views(
        self, tracer: Tracer, found: FinishedRun, tests: Sequence[TrueView], tick: Callable[[str], None]
    ) -> tuple[list[Traced | None], Record]:
        """The test views under the fitted light, or the true one where the run has none, or none at all."""
        if found.light is not None:
            tracer.light_by(found.light, found.world_from_light)
        elif tests[0].light is not None:
            tracer.light_by(_true_light(tests[0].light), torch.eye(3))
        else:
            return [None] * len(tests), {"view_light": None, "view": None}
        pictures: list[Traced | None] = []
        figures = []
        for view in tests:
            tick(view.name)
            traced = self._trace(tracer, view.camera)
            pixels = view.pixels()
            figures.append(compare(traced, pixels, pixels[..., 3] > 0.5))
            pictures.append(traced)
        return pictures, {"view_light": "true" if found.light is None else "fitted", "view": _means(figures)}

    def _relit(
        self, tracer: Tracer, views: Sequence[TrueView], tick: Callable[[str], None], sheets: Path
    ) -> dict[str, Any]:
        """The relit views as they are, and after one factor per channel and light."""
        raw, scaled, shown, factors = list[ViewFigures](), list[ViewFigures](), [], {}
        for environment in dict.fromkeys(view.environment for view in views):
            some = [view for view in views if view.environment == environment]
            tracer.light_by(_true_light(some[0].light), torch.eye(3))
            pairs = []
            for view in some:
                tick(view.name)
                pairs.append((self._trace(tracer, view.camera), view.pixels()))
            factor = light_factors(pairs)
            factors[environment] = factor.tolist()
            for traced, pixels in pairs:
                mask, bright = pixels[..., 3] > 0.5, traced.scaled(factor)
                raw.append(compare(traced, pixels, mask))
                scaled.append(compare(bright, pixels, mask))
            shown.append((pairs[0][0], pairs[0][0].scaled(factor), pairs[0][1]))
        if not views:
            return {"relit": None, "relit_scaled": None, "relit_factors": None}
        write_relit_sheet(sheets / "relit.png", shown)
        return {"relit": _means(raw), "relit_scaled": _means(scaled), "relit_factors": factors}

    def _trace(self, tracer: Tracer, camera: Camera) -> Traced:
        half = max(1, self.effort.samples // 2)
        first, second = (tracer.render(camera, samples=half, seed=_SEED + i) for i in range(2))
        return Traced(first=first, second=second)

    def _surface(self, found: FinishedRun, maps: Sequence[TrueMaps]) -> Record | None:
        if self.truth.mesh is None:
            return None
        vertices, faces = read_ply(self.truth.mesh)
        turn = self.truth.world_from_capture
        true = (vertices.double() @ turn[:3, :3].mT).numpy(), faces.numpy()
        ours = found.placed.mesh.vertices.numpy(), found.placed.mesh.faces.numpy()
        seen = torch.cat([m.points for m in maps]).numpy()
        if not len(seen):
            raise InputError("its test views see nothing of the object", path=self.truth.folder)
        figures = compare_surfaces(ours, true, seen)
        return {"chamfer_pct": figures.chamfer_pct, **asdict(figures)}


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, evenly spread."""
    count = min(count, len(items))
    return [items[round((i + 0.5) * len(items) / count - 0.5)] for i in range(count)]


def _true_light(light: TrueLight | None) -> Float[Tensor, "rows columns 3"]:
    if light is None:
        raise ValueError("a view without a light cannot be traced")
    return read_light(light.path) * light.strength


def _alignment(found: FinishedRun) -> Record | None:
    if found.alignment is None:
        return None
    told = asdict(found.alignment)
    return told | {"world_from_asset": found.alignment.world_from_asset.tolist()}


def _means(figures: Sequence[ViewFigures]) -> dict[str, float]:
    return {name: float(np.mean([getattr(f, name) for f in figures])) for name in asdict(figures[0])}


def _map_figures(maps: Sequence[tuple[TrueMaps, SeenMaps]]) -> Record:
    """Base colour over all views together; the others are means of the views' means inside both masks."""

    def mean(values: Iterator[Tensor]) -> float:
        return float(np.mean([float(v.float().mean()) for v in values if v.numel()]))

    colors = compare_colors(
        torch.cat([seen.base_color[true.mask] * seen.mask[true.mask][:, None] for true, seen in maps]),
        torch.cat([true.base_color[true.mask] for true, _ in maps]),
    )
    both = [(true, seen, true.mask & seen.mask) for true, seen in maps]
    angles = [angles_deg(seen.normal[where], true.normal[where]) for true, seen, where in both]
    return {
        "base_color": asdict(colors),
        "roughness_mae": mean((seen.roughness - true.roughness)[where].abs() for true, seen, where in both),
        "metallic_mae": mean((seen.metallic - true.metallic)[where].abs() for true, seen, where in both),
        "normal_deg": mean(iter(angles)),
        "normal_median_deg": mean(a.median() for a in angles if len(a)),
        "mask_overlap": mean(
            (true.mask & seen.mask).sum() / (true.mask | seen.mask).sum().clamp_min(1) for true, seen in maps
        ),
    }
