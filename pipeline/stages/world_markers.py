"""The scale from printed markers: ArUco markers or a ChArUco board that lies still in the photos."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from pipeline.color import srgb_from_linear
from pipeline.config import WorldConfig
from pipeline.formats.views import read_view_image
from pipeline.geometry.triangulation import Triangulated, similarity_scale, triangulate
from pipeline.scene import Camera, View
from pipeline.workspace import StageContext

LIMIT_PX = 2.0  # a corner that a photo shows further from where the others place it is mistaken there
MIN_VIEWS = 3  # photos that have to agree on a corner: two rays nearly always meet somewhere
DISAGREES = 0.05  # a marker whose edge, or board whose spread, is off by this share is not the one described

Corner = tuple[int, int]  # of which marker (or of board 0), which corner
Detect = Callable[[UInt8[np.ndarray, "height width"]], list[tuple[Corner, Float[np.ndarray, "2"]]]]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Sighting:
    """A corner in one photo: x and y, corner-based pixels."""

    view: int
    pixel: Float[np.ndarray, "2"]


def measure_with_markers(views: list[View], config: WorldConfig, context: StageContext) -> float | None:
    """Metres per unit of the views' world, or none, with a warning that says why.

    Corners are found in all photos and triangulated; each marker, or the board as a whole, is compared with its known
    size, and the median over markers is taken. What is left is reported as `marker_residual_mm`.
    """
    sightings, layouts = _find_corners(views, config, context)
    kind = f"DICT_{config.marker_dictionary}"
    if not sightings:
        context.warn(
            f"no marker of {kind} was found in {len(views)} photos; the scale stays unknown "
            "(is it the dictionary that was printed, and is each marker larger than some 20 pixels?)"
        )
        return None
    placed: dict[int, dict[int, Triangulated]] = {}
    for (group, corner), seen in sorted(sightings.items()):
        found = _place(seen, [v.camera for v in views])
        if found is not None:
            placed.setdefault(group, {})[corner] = found
    measured = {
        group: similarity_scale(np.stack([c.point for c in corners.values()]), layouts[group][list(corners)])
        for group, corners in placed.items()
        if len(corners) >= 4
    }
    if not measured:
        context.warn(
            f"markers of {kind} were found, but none with 4 corners that {MIN_VIEWS} photos agree on to "
            f"{LIMIT_PX:g} px; the scale stays unknown (they must lie still beside the object)"
        )
        return None
    scale = float(np.median([s for s, _ in measured.values()]))
    size = config.square_size_m if config.board_size else config.marker_size_m
    kept = {g: (s, r) for g, (s, r) in measured.items() if abs(s / scale - 1) < DISAGREES and r < DISAGREES * size}
    if not kept:
        context.warn(f"the markers of {kind} do not have the shape that was told; the scale stays unknown")
        return None
    if len(kept) < len(measured):
        others = ", ".join(str(g) for g in measured if g not in kept)
        context.warn(f"markers {others} differ in size from the other {len(kept)} and do not count")
    scale = float(np.median([s for s, _ in kept.values()]))
    corners = [c for g in kept for c in placed[g].values()]
    context.metrics.update(
        metres_per_unit=scale,
        markers=len(kept),
        marker_corners=len(corners),
        marker_error_px=float(np.sqrt(np.mean([c.error_px**2 for c in corners]))),
        marker_residual_mm=1000 * float(np.sqrt(np.mean([r**2 for _, r in kept.values()]))),
    )
    return scale


def _place(seen: list[_Sighting], cameras: list[Camera]) -> Triangulated | None:
    """A corner in space, when enough photos agree on it."""
    if len(seen) < MIN_VIEWS:
        return None
    pixels = np.stack([s.pixel for s in seen])
    found = triangulate([cameras[s.view] for s in seen], pixels, limit_px=LIMIT_PX)
    return found if found is not None and found.agrees.sum() >= MIN_VIEWS else None


def _find_corners(
    views: list[View], config: WorldConfig, context: StageContext
) -> tuple[dict[Corner, list[_Sighting]], dict[int, Float[np.ndarray, "corners 3"]]]:
    """All corners in all photos, and the layout in metres of each marker's, or of the board's."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{config.marker_dictionary}"))
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    if config.board_size is None:
        loose = cv2.aruco.ArucoDetector(dictionary, parameters)
        sightings = _sightings(views, partial(_marker_corners, loose), context)
        edge = config.marker_size_m
        square = np.array([[0, 0, 0], [edge, 0, 0], [edge, edge, 0], [0, edge, 0]])
        return sightings, {group: square for group, _ in sightings}
    board = cv2.aruco.CharucoBoard(config.board_size, config.square_size_m, config.marker_size_m, dictionary)
    for legacy in (False, True):  # OpenCV before 4.6 printed boards with an even number of rows the other way round
        board.setLegacyPattern(legacy)
        detector = cv2.aruco.CharucoDetector(board, detectorParams=parameters)
        sightings = _sightings(views, partial(_board_corners, detector), context)
        if sightings:
            break
    return sightings, {0: np.asarray(board.getChessboardCorners(), np.float64)}


def _sightings(views: list[View], detect: Detect, context: StageContext) -> dict[Corner, list[_Sighting]]:
    found: dict[Corner, list[_Sighting]] = {}
    for index, view in enumerate(views):
        context.progress(index / len(views), f"markers in {view.name}")
        for corner, pixel in detect(_photo(view)):
            found.setdefault(corner, []).append(_Sighting(view=index, pixel=pixel + 0.5))  # OpenCV's centre is at 0
    return found


def _photo(view: View) -> UInt8[np.ndarray, "height width"]:
    linear = read_view_image(view, view.camera.width, view.camera.height)
    rgb = (srgb_from_linear(linear.clamp(0, 1)) * 255).round().to(torch.uint8)
    return np.asarray(cv2.cvtColor(rgb.numpy(), cv2.COLOR_RGB2GRAY))


def _marker_corners(
    detector: cv2.aruco.ArucoDetector, photo: UInt8[np.ndarray, "height width"]
) -> list[tuple[Corner, Float[np.ndarray, "2"]]]:
    """Corners of markers that the photo shows once: of two with one number, nobody knows which is which."""
    corners, numbers, _ = detector.detectMarkers(photo)
    listed = [int(n) for n in np.ravel(numbers)] if len(corners) else []
    return [
        ((number, k), pixel.astype(np.float64))
        for number, quad in zip(listed, corners, strict=True)
        if listed.count(number) == 1
        for k, pixel in enumerate(np.reshape(quad, (4, 2)))
    ]


def _board_corners(
    detector: cv2.aruco.CharucoDetector, photo: UInt8[np.ndarray, "height width"]
) -> list[tuple[Corner, Float[np.ndarray, "2"]]]:
    """The chessboard's inner corners that the photo shows."""
    corners, numbers, _, _ = detector.detectBoard(photo)
    if corners is None or len(corners) == 0:
        return []
    pixels = np.reshape(corners, (-1, 2)).astype(np.float64)
    return [((0, int(n)), pixel) for n, pixel in zip(np.ravel(numbers), pixels, strict=True)]
