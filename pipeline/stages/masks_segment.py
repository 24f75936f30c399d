"""Segmenting all photos together: stereo, colours, support and what the other photos say, in turn.

The scheme is that of Campbell, Vogiatzis, Hernández and Cipolla (2010, "Automatic 3D object segmentation in
multiple views using volumetric graph-cuts"): all cameras look at the object, colours are learned from a first
guess, and photos and volume correct each other. Here stereo makes the first guess.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, Int

from pipeline.errors import CaptureError
from pipeline.geometry.soft_cut import soft_cut
from pipeline.geometry.support_plane import Plane
from pipeline.stages.masks_backdrop import Backdrop
from pipeline.stages.masks_colors import color_bins, color_counts, color_density, local_log_odds
from pipeline.stages.masks_stereo import Matches, stereo_evidence
from pipeline.stages.masks_support import Support, photograph, support_density
from pipeline.stages.masks_views import Window, WorkView, distance_from_origin, in_parallel, project, transfer
from pipeline.stages.masks_volume import Volume, central_part, seen_from, vote

FAR = 1.75  # rays that pass the look-at point further away than this show no object
SURROUNDINGS = 1.1, 1.4  # from here to there, rays go over to showing mostly surroundings (the unit fits the photos)
START_BOX = 1.6  # half a side of the first voxel box
BOX_MARGIN = 0.25
SUPPORT_SHARE = 0.7  # of what is no object where a ray meets the support, that which is the support
ANY_COLOR = 1 / 2e4  # density of colours nobody knows anything about: few are beyond 2e4 cubic units
TEMPER = 0.7  # colours of neighbouring pixels are not independent: their log-odds count less
LIMIT = 4.0  # log-odds: no colour alone decides
STEREO = 4.0  # log-odds of a match in the first round; halved each round, as windows reach over outlines
SMOOTHNESS = 2.0  # log-odds that a pixel of outline costs on even ground
PRIOR_IN, PRIOR_OUT = 1.5, 3.5  # log-odds well inside and well outside of what the photos together see
PRIOR_BETWEEN = 0.7  # the same near its outline
MARGIN = 0.08  # how far that may be off in the first round, world units; shrinks by a fifth each round
ITERATIONS = 100
CLOSE_ROUNDS = 2
VOXEL_PX = 4  # pixels of the largest view for each voxel along the longest side of the box
COVERED = 0.1  # where the object may be
WINDOW_MARGIN = 0.1  # of the longer side of what may show the object
REMEDY = "put masks in a folder masks/ beside the photos, white = object"
UNSURE = 0.5  # vote of a pixel whose colours say nothing

Image = Float[np.ndarray, "height width"]


def _blank() -> Float[np.ndarray, "1 1"]:
    return np.zeros((1, 1), np.float32)


@dataclass(eq=False, kw_only=True)
class Segment:
    """What is known about one view while masks are made; images of one size.

    Attributes:
        view: The photo.
        matches: What stereo found.
        backdrop: Density of the colour if the pixel shows a plain backdrop; 0 without one.
        stereo: Its evidence in [-1, 1].
        bins: Bin of each pixel's colour.
        distance: How near each ray passes to the origin.
        edges: The price of an outline.
        prior: Log-odds from where the pixel is and what all photos together see.
        object_share: How surely a pixel teaches the object's colours.
        other_share: How surely it teaches those of the rest.
        support: Density of the colour if the pixel shows the support; 0 where it cannot.
        covered: Where the object may hide the support.
        seen: The object as all photos together see it.
        label: Probability of being object.
        like: The same by the colours alone.
        weight: How much a pixel votes on voxels.
    """

    view: WorkView
    matches: Matches
    backdrop: Image
    stereo: Image
    bins: Int[np.ndarray, "height width"]
    distance: Image
    edges: Image
    prior: Image
    object_share: Image
    other_share: Image
    label: Image
    support: Image = field(default_factory=_blank)
    covered: Image = field(default_factory=_blank)
    seen: Image = field(default_factory=_blank)
    like: Image = field(default_factory=_blank)
    weight: Image = field(default_factory=_blank)


def segment(  # noqa: PLR0913  # one per input
    views: list[WorkView],
    matches: list[Matches],
    plane: Plane | None,
    backdrops: list[Backdrop | None],
    *,
    rounds: int,
    closer: Callable[[int, Window], WorkView],
    threads: int,
    progress: Callable[[float], None],
) -> list[Segment]:
    """Label every view: each round learns colours, cuts the photos, and votes on the volume.

    Once all agree on roughly where the object is, the last rounds look at it closely.

    Args:
        views: The photos.
        matches: What stereo found for each.
        plane: What the object stands on, if known.
        backdrops: Those of `find_backdrops`.
        rounds: Rounds with whole photos.
        closer: Loads a window of the photo with this index; the results show such windows.
        threads: How many views are worked on at a time.
        progress: Takes the fraction done in [0, 1].

    Raises:
        CaptureError: When the photos agree on no object.
    """
    segments = in_parallel(lambda inputs: _start(*inputs), zip(views, matches, backdrops, strict=True), threads)
    box = np.array([[-START_BOX] * 3, [START_BOX] * 3])
    for index in range(rounds):
        support = None if plane is None else _photographed(plane, segments)
        _cut(segments, support, threads, stereo=STEREO * 0.5**index, local=index > 0)
        volume = _agree(segments, box, threads, margin=MARGIN * 0.8**index)
        box = volume.box(BOX_MARGIN)
        progress((index + 1) / (rounds + 2 * CLOSE_ROUNDS))
    support = None if plane is None else _photographed(plane, segments)
    segments = in_parallel(lambda i: _closeup(segments[i], backdrops[i], i, closer), range(len(segments)), threads)
    margin = MARGIN * 0.8**rounds
    in_parallel(lambda s: _inform(s, volume, margin), segments, threads)
    for index in range(CLOSE_ROUNDS):
        _cut(segments, support, threads, stereo=STEREO * 0.5**rounds, local=True)
        if index < CLOSE_ROUNDS - 1:
            volume = _agree(segments, box, threads, margin=margin * 0.8 ** (index + 1))
        progress((rounds + 2 * index + 2) / (rounds + 2 * CLOSE_ROUNDS))
    return segments


def _closeup(
    segment: Segment, backdrop: Backdrop | None, index: int, closer: Callable[[int, Window], WorkView]
) -> Segment:
    """What `segment` knows, in the window of the photo that may show the object."""
    near = _start(closer(index, _window(segment)), segment.matches, backdrop)
    near.label = transfer(segment.label, segment.view.camera, near.view.camera)
    return near


def _window(segment: Segment) -> Window:
    """The part of the whole photo that may show the object, with some surroundings to learn from."""
    rows, columns = np.nonzero(segment.covered > COVERED)
    height, width = segment.view.shape
    if len(rows) == 0:
        return segment.view.window
    low = np.array([columns.min(), rows.min()])
    high = np.array([columns.max(), rows.max()]) + 1
    pad = WINDOW_MARGIN * (high - low).max()
    scale = np.array(segment.view.window[2:]) / [width, height]
    left, top = np.floor(np.maximum(low - pad, 0) * scale).astype(int).tolist()
    right, bottom = np.ceil(np.minimum(high + pad, [width, height]) * scale).astype(int).tolist()
    return left, top, right - left, bottom - top


def _start(view: WorkView, matches: Matches, backdrop: Backdrop | None) -> Segment:
    """The first guess: what matches in the middle is object, what matches elsewhere and the rim is not."""
    stereo = stereo_evidence(matches, None, view)
    distance = distance_from_origin(view.camera)
    low, high = SURROUNDINGS
    object_share = np.maximum(stereo, 0) + 0.05 * np.clip((0.5 - distance) / 0.3, 0, 1)
    other_share = np.maximum(-stereo, np.clip((distance - low) / (high - low), 0, 1))
    density = np.zeros(view.shape, np.float32) if backdrop is None else backdrop.density(view)
    if backdrop is not None:
        like_backdrop = density / (density + ANY_COLOR)
        object_share = np.maximum(object_share, (1 - like_backdrop) * (distance < low))
        other_share = np.maximum(other_share, like_backdrop)
    if view.given is not None:
        object_share, other_share = view.given, 1 - view.given
    return Segment(
        view=view,
        matches=matches,
        backdrop=density,
        stereo=stereo,
        bins=color_bins(cv2.GaussianBlur(view.lab, (0, 0), 0.8)),
        distance=distance,
        edges=edge_price(view.lab),
        prior=_walled(np.clip(1.0 - 1.5 * distance, -1.5, 0.7), distance),
        object_share=object_share.astype(np.float32),
        other_share=other_share.astype(np.float32),
        label=np.clip(object_share, 0, 1).astype(np.float32),
    )


def _walled(prior: Image, distance: Image) -> Image:
    return np.where(distance > FAR, -4 * LIMIT, prior).astype(np.float32)


def edge_price(lab: Float[np.ndarray, "height width 3"]) -> Image:
    """Price of an outline: falls with the contrast to the next pixels, in units of the image's mean contrast."""
    smooth = cv2.GaussianBlur(lab, (0, 0), 0.8)
    across = np.square(np.diff(smooth, axis=1, append=smooth[:, -1:])).sum(-1)
    down = np.square(np.diff(smooth, axis=0, append=smooth[-1:])).sum(-1)
    contrast = np.maximum(across, down)
    return (SMOOTHNESS * (0.04 + 0.96 * np.exp(-contrast / (2 * contrast.mean() + 1e-6)))).astype(np.float32)


def _photographed(plane: Plane, segments: list[Segment]) -> Support:
    """The support without what may be the object by now."""
    known = segments[0].covered.shape != (1, 1)
    return photograph(plane, [s.view for s in segments], [s.covered for s in segments] if known else None)


def _cut(segments: list[Segment], support: Support | None, threads: int, *, stereo: float, local: bool) -> None:
    """Learn the colours, then label every view that came without a mask."""
    objects = [color_counts(s.bins, s.object_share) for s in segments]
    others = [color_counts(s.bins, s.other_share) for s in segments]
    all_objects, all_others = color_density(np.sum(objects, 0)), color_density(np.sum(others, 0))

    def label(index: int) -> None:
        s = segments[index]
        if s.view.given is not None:
            s.label = s.like = s.view.given
            s.weight = np.ones(s.view.shape, np.float32)
            return
        s.support = s.backdrop if support is None else np.maximum(support_density(support, s.view), s.backdrop)
        is_object = (0.5 * all_objects + 0.5 * color_density(objects[index]))[s.bins]
        is_other = (0.3 * all_others + 0.7 * color_density(others[index]))[s.bins]
        cue = np.clip(np.log(is_object / is_other), -2 * LIMIT, 2 * LIMIT)
        share = SUPPORT_SHARE * (s.support > 0)

        def weighed(colors: Image) -> Image:
            odds = (1 - share) * np.exp(-colors) + share * s.support / is_object
            return cv2.GaussianBlur(np.clip(-TEMPER * np.log(odds), -LIMIT, LIMIT).astype(np.float32), (0, 0), 1.0)

        # not by what is learned nearby, which is from labels that a wrong volume taught
        s.like = np.where(s.distance > FAR, 0, 1 / (1 + np.exp(-weighed(cue)))).astype(np.float32)
        if local:
            cue = local_log_odds(s.view.lab, s.object_share, s.other_share, cue)
        cue = weighed(cue) + stereo * s.stereo
        s.label = soft_cut(cue + s.prior, s.edges, s.label, iterations=ITERATIONS)
        s.weight = (UNSURE + (1 - UNSURE) * np.minimum(np.abs(cue) / LIMIT, 1)).astype(np.float32)

    in_parallel(label, range(len(segments)), threads)


def _agree(segments: list[Segment], box: Float[np.ndarray, "2 3"], threads: int, *, margin: float) -> Volume:
    """Vote on voxels, keep the part in the middle, and tell each view what all photos together see.

    Args:
        segments: The views.
        box: Where voxels are.
        threads: How many views are worked on at a time.
        margin: How far, in world units, the volume may be off.

    Raises:
        CaptureError: When no voxel is left.
    """
    cameras = [s.view.camera for s in segments]
    # what looks like the object where the volume is empty yet may still be a part of it: the volume decides
    labels, weights = [np.maximum(s.label, s.like) for s in segments], [s.weight for s in segments]
    surfaces = [s.matches.surface(s.view.camera) for s in segments]
    side = max(max(s.view.shape) for s in segments) // VOXEL_PX
    volume = central_part(vote(cameras, labels, weights, surfaces, box, side=side))
    if not (volume.occupancy > 0.5).any():
        raise CaptureError("the object could not be told from its surroundings: nothing is object", remedy=REMEDY)
    in_parallel(lambda s: _inform(s, volume, margin), segments, threads)
    return volume


def _inform(s: Segment, volume: Volume, margin: float) -> None:
    """Tell a view what all photos together see, and from which of its pixels to learn colours."""
    s.stereo = stereo_evidence(s.matches, volume.grown(margin), s.view)
    s.seen = seen_from(volume, s.view.camera)
    depth = float(project(s.view.camera, np.zeros((1, 3)))[0, 2])
    size = 2 * max(1, round(margin * float(s.view.camera.K[0, 0]) / max(depth, 0.1))) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    certain = seen_from(volume, s.view.camera, certain=True)
    thin = s.seen - cv2.morphologyEx(s.seen, cv2.MORPH_OPEN, kernel)  # parts that erosion would take away
    inner, s.covered = np.maximum(cv2.erode(certain, kernel), thin), cv2.dilate(s.seen, kernel)
    between = PRIOR_BETWEEN * (2 * certain - 1)
    s.prior = _walled(PRIOR_IN * inner + between - PRIOR_OUT * (1 - s.covered), s.distance)
    if s.view.given is None:
        like_support = s.support / (s.support + ANY_COLOR)
        s.object_share = np.maximum(inner, s.stereo) * s.label
        s.other_share = np.maximum(np.maximum(1 - s.covered, -s.stereo), like_support * (1 - s.label))
