"""Compares the masks that a run made with given ones: a table of IoU, and a sheet of the worst.

    .venv/bin/python scripts/compare_masks.py runs/without_masks --given runs/with_masks --out runs/compare_masks

Both are runs of the same photos, the second with their masks beside them: its poses stage brought the given masks to
the same undistorted pixels. On the sheet, what only the run calls object is red, what only the given mask does is blue.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import pipeline  # noqa: F401, I001  # loads zlib before any library that brings its own
import numpy as np
from jaxtyping import Float, UInt8

from pipeline.formats import capture_json, images
from pipeline.formats.resample import resize
from pipeline.scene import View

GOOD = 0.9
SHEET_VIEWS, SHEET_COLUMNS, TILE_PX = 12, 4, 400
ONLY_MADE, ONLY_GIVEN = np.array([230, 40, 30]), np.array([40, 90, 255])


def main() -> None:
    """Print the table and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run that made its masks")
    parser.add_argument("--given", type=Path, required=True, help="folder of a run of the same photos with masks")
    parser.add_argument("--out", type=Path, default=Path("runs/compare_masks"), help="where the sheet goes")
    arguments = parser.parse_args()
    made = {v.name: v for v in capture_json.load(arguments.run / "masks").views}
    given = {v.name: v for v in capture_json.load(arguments.given / "poses").views if v.mask_path}
    both = sorted(made.keys() & given.keys())
    if not both:
        parser.error("the runs have no photo with a mask in common")
    figures = sorted((compare(made[n], given[n]), n) for n in both)
    print(f"{'photo':<24} {'IoU':>6} {'right':>6} {'found':>6}")
    for (iou, precision, recall), name in figures:
        print(f"{name:<24} {iou:6.3f} {precision:6.3f} {recall:6.3f}")
    ious = np.array([iou for (iou, _, _), _ in figures])
    print(
        f"{len(ious)} of {len(given)} photos: IoU mean {ious.mean():.4f}, median {np.median(ious):.4f}, "
        f"worst {ious.min():.3f}; {GOOD} or better: {int((ious >= GOOD).sum())}"
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{arguments.run.name}.png"
    images.write_png(path, sheet([(made[n], given[n]) for _, n in figures[:SHEET_VIEWS]]))
    print(path)


def compare(made: View, given: View) -> tuple[float, float, float]:
    """Intersection over union, the share of the made mask that is right, and the share of the given one found."""
    ours, truth = (_mask(view) > 0.5 for view in (made, given))
    if ours.shape != truth.shape:
        raise SystemExit(f"{made.name}: {ours.shape[::-1]} px in one run, {truth.shape[::-1]} px in the other")
    common = float((ours & truth).sum())
    return common / max(1, (ours | truth).sum()), common / max(1, ours.sum()), common / max(1, truth.sum())


def sheet(pairs: list[tuple[View, View]]) -> UInt8[np.ndarray, "height width 3"]:
    """Tiles in rows, in the order of `pairs`."""
    rows, columns = -(-len(pairs) // SHEET_COLUMNS), min(SHEET_COLUMNS, len(pairs))
    page = np.zeros((rows * TILE_PX, columns * TILE_PX, 3), np.uint8)
    for index, pair in enumerate(pairs):
        tile = _tile(*pair)
        top, left = index // SHEET_COLUMNS * TILE_PX, index % SHEET_COLUMNS * TILE_PX
        page[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return page


def _tile(made: View, given: View) -> UInt8[np.ndarray, "rows columns 3"]:
    photo = images.read_image(made.image_path).astype(np.float32)
    ours, truth = _mask(made)[..., None], _mask(given)[..., None]
    shown = photo * (0.3 + 0.7 * ours * truth)
    shown += 0.7 * (ours * (1 - truth) * ONLY_MADE + truth * (1 - ours) * ONLY_GIVEN)
    scale = TILE_PX / max(photo.shape)
    small = resize(shown.astype(np.float32), round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return np.asarray(small.clip(0, 255).round(), np.uint8)


def _mask(view: View) -> Float[np.ndarray, "height width"]:
    if view.mask_path is None:
        raise SystemExit(f"{view.name} has no mask")
    return images.read_mask(view.mask_path).numpy()


if __name__ == "__main__":
    main()
