"""Poses of the photos aligned with what the fit has learned, by direct image alignment.

Each photo's view is rendered with the present material and light; the camera then moves until the rendered surface
points fall on the photo where it looks alike (Lucas and Kanade 1981, forward-additive, on se(3)). Both pictures are
band-passed: what the fit has not learned yet, of light and of highlights, is mostly smooth. Where a camera turns, its
photo follows whatever the depths; that it stands elsewhere only parallax tells, of which a mesh that is not exact tells
wrong things, so a prior holds it. All views together keep their mean place: the object shall not drift against its
mesh. The mesh and the masks were made with the poses that came in, and stay as they are.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from pipeline.color import perceptual_from_linear
from pipeline.scene import Camera, Capture
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_pixels import PixelSource, image_scale

VIEW_PX = 10_000  # of a view that the object covers at most
LEAST_PX = 500  # of a view to be aligned
FINE, COARSE = 0.6, 3.0  # standard deviations of the band-pass, pixels
PROBED = 6  # views that tell whether the others have to move
GAIN, MOVED_PX = 0.08, 0.3  # medians of `Aligned` beyond which it is more than misfit: measured .07, .16 of exact
# poses on a mesh from outlines, .23, .67 of poses that are off by .2 degrees
ITERATIONS, TRIES = 6, 4
STANDS_STILL = 0.1  # the prior's information about where a camera stands, as a share of the photo's
HUBER = 1.345 * 1.4826  # times the median error: 95 % as precise as least squares on Gaussian errors
SETTLED = 1e-3  # a step that takes away less of the error is the last


@dataclass(frozen=True, eq=False, kw_only=True)
class Aligned:
    """A view's camera before and after.

    Attributes:
        cam_from_world: The pose found.
        gain: Share of the robust error that it takes away.
        moved_px: Root mean square of how far the object's points move, pixels of the aligned picture.
    """

    cam_from_world: Float[Tensor, "4 4"]
    gain: float
    moved_px: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """A view for alignment.

    Attributes:
        camera: At the size of the pictures.
        points: World points on the surface, one for each of some pixels.
        rendered: What the fit makes of them, band-passed.
        photo: Channels of the photo, band-passed; then their change to the right, and downwards; then the mask.
    """

    camera: Camera
    points: Float[Tensor, "points 3"]
    rendered: Float[Tensor, "points 3"]
    photo: Float[Tensor, "10 height width"]


def refined_poses(fit: AppearanceFit, source: PixelSource, mode: str) -> Capture | None:
    """The capture with poses that explain the photos better, or none when these are good already.

    Args:
        fit: Far enough for its textures to show what is where.
        source: The photos with their present poses, and the mesh.
        mode: "auto" refines when some views say that it helps; "on" whatever they say.
    """
    count = len(source.capture.views)
    tried: dict[int, Aligned | None] = {}
    probed = sorted({round(k * (count - 1) / max(1, PROBED - 1)) for k in range(PROBED)})
    for k in probed if mode == "auto" else []:
        tried[k] = _aligned_view(fit, source, k)
    if mode == "auto" and not _helps(list(tried.values())):
        return None
    for k in range(count):
        if k not in tried:
            tried[k] = _aligned_view(fit, source, k)
    if mode == "auto" and not _helps(list(tried.values())):
        return None
    before = torch.stack([view.camera.cam_from_world for view in source.capture.views])
    found = [(before[k], tried[k]) for k in range(count)]
    after = torch.stack([old if new is None else new.cam_from_world for old, new in found])
    return source.capture.posed(without_drift(before, after, source.mesh.vertices.double().mean(0)))


def _helps(tried: list[Aligned | None]) -> bool:
    views = [view for view in tried if view is not None]
    if not views:
        return False
    gain, moved = (torch.tensor([getattr(view, name) for view in views]).median() for name in ("gain", "moved_px"))
    return float(gain) > GAIN and float(moved) > MOVED_PX


def without_drift(
    before: Float[Tensor, "views 4 4"], after: Float[Tensor, "views 4 4"], center: Float[Tensor, "3"]
) -> Float[Tensor, "views 4 4"]:
    """Refined poses, moved and scaled together so that in the mean they stay where they were.

    Args:
        before: The poses that came in, cam_from_world.
        after: The refined ones.
        center: Of the object, about which motions turn.
    """
    old, new = _centers(before), _centers(after)
    size, grown = ((centers - centers.mean(0)).norm() for centers in (old, new))
    scale = grown / size if float(size) > 0 else 1.0
    placed = after.clone()
    placed[:, :3, 3:] = -after[:, :3, :3] @ (new.mean(0) + (new - new.mean(0)) / scale)[..., None]
    for _ in range(3):  # of means of logarithms; the motions are small
        motion = torch.stack([_logarithm(b.inverse() @ a, center) for b, a in zip(before, placed, strict=True)])
        placed = placed @ _exponential(-motion.mean(0), center)
    return placed


def _centers(poses: Float[Tensor, "views 4 4"]) -> Float[Tensor, "views 3"]:
    return -(poses[:, :3, :3].mT @ poses[:, :3, 3:])[..., 0]


def _exponential(motion: Float[Tensor, "6"], center: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    """The rigid motion that shifts by the first three numbers and turns about a centre by the others, radians."""
    x, y, z = motion[3:].tolist()
    result = torch.eye(4, dtype=torch.float64)
    result[:3, :3] = torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))
    result[:3, 3] = motion[:3] + center - result[:3, :3] @ center
    return result


def _logarithm(motion: Float[Tensor, "4 4"], center: Float[Tensor, "3"]) -> Float[Tensor, "6"]:
    """Inverts `_exponential`, for turns of less than half a turn."""
    rotation = motion[:3, :3]
    axis = torch.stack(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine = axis.norm() / 2
    angle = torch.atan2(sine, (rotation.trace() - 1) / 2)
    turn = axis / 2 * (angle / sine if float(sine) > 1e-12 else 1.0)
    return torch.cat([rotation @ center + motion[:3, 3] - center, turn])


def _aligned_view(fit: AppearanceFit, source: PixelSource, index: int) -> Aligned | None:
    evidence = view_evidence(fit, source, index)
    return None if evidence is None else align(evidence)


def view_evidence(fit: AppearanceFit, source: PixelSource, index: int) -> Evidence | None:
    """Render a view and band-pass it along with its photo; none where the object shows too little."""
    view = source.capture.views[index]
    alone = replace(source, capture=replace(source.capture, views=(view,)), max_pixels=VIEW_PX)
    pixels = alone.collect(lambda part, note: None)
    if len(pixels) < LEAST_PX:
        return None
    pixels = replace(pixels, view=torch.full_like(torch.as_tensor(pixels.view), index))
    camera = view.camera.scaled(image_scale(alone.capture, VIEW_PX))
    points = pixels.positions(source.mesh.vertices).double().cpu()
    column, row = camera.project(points)[0].floor().long().unbind(-1)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    place = (row * camera.width + column).clamp(0, camera.width * camera.height - 1)
    mask = torch.zeros(camera.height * camera.width)
    mask[place] = 1.0
    rendered, photo = (
        _band_passed(perceptual_from_linear(color.detach()).float().cpu(), place, mask, camera)
        for color in (fit.look(pixels).color, pixels.target)
    )
    right, down = (torch.gradient(photo, dim=axis)[0] for axis in (2, 1))
    mask_picture = mask.reshape(1, camera.height, camera.width)
    return Evidence(
        camera=camera,
        points=points[inside],
        rendered=rendered.flatten(1).T[place[inside]],
        photo=torch.cat([photo, right, down, mask_picture]),
    )


def _band_passed(
    color: Float[Tensor, "pixels 3"],
    place: Tensor,
    mask: Float[Tensor, "places"],
    camera: Camera,
) -> Float[Tensor, "3 height width"]:
    """A picture of what is neither finer nor coarser than some pixels, of pixels inside a mask alone."""
    full = torch.zeros(len(mask), 3)
    full[place] = color
    shape = (camera.height, camera.width)
    inside = mask.reshape(shape)
    picture = full.T.reshape(3, *shape)

    def smooth(sigma: float) -> Tensor:
        weight = torch.from_numpy(ndimage.gaussian_filter(inside.numpy(), sigma))
        blurred = torch.from_numpy(ndimage.gaussian_filter(picture.numpy(), (0, sigma, sigma)))
        return blurred / weight.clamp_min(1e-3)

    return (smooth(FINE) - smooth(COARSE)) * inside


@dataclass(frozen=True, eq=False, kw_only=True)
class _State:
    """What a pose leaves unexplained.

    Attributes:
        pose: The pose, cam_from_world.
        contrast: Of the photo, as a multiple of the rendering's.
        in_camera: The points in the camera's frame.
        read: The photo's channels and their changes where the points fall.
        residual: Photo less rendering, zero outside the mask.
        inside: Points that fall inside the photo's mask.
    """

    pose: Float[Tensor, "4 4"]
    contrast: float
    in_camera: Float[Tensor, "points 3"]
    read: Float[Tensor, "points 10"]
    residual: Float[Tensor, "points 3"]
    inside: Bool[Tensor, "points"]


class _Alignment:
    """The robust error of one view, with its prior, and the equations of a step that lowers it."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.given = evidence.camera.cam_from_world.double()
        self.start = self.look(self.given, None)
        self.scale = HUBER * float(self.start.residual[self.start.inside].abs().median()) + 1e-9
        self.least = 0.7 * int(self.start.inside.sum())
        self.prior = 0.0
        self.prior = STANDS_STILL * float(self.equations(self.start)[0].diagonal()[:2].mean())

    def look(self, pose: Float[Tensor, "4 4"], contrast: float | None) -> _State:
        """Read the photo where a pose puts the points; without a contrast, the best one is taken."""
        camera, photo = self.evidence.camera, self.evidence.photo
        in_camera = self.evidence.points @ pose[:3, :3].mT + pose[:3, 3]
        size = torch.tensor([camera.width, camera.height], dtype=torch.float64)
        place = (_project(camera, in_camera) / size * 2 - 1).to(photo)
        read = torch.nn.functional.grid_sample(photo[None], place[None, None], align_corners=False)[0, :, 0].T.double()
        inside, rendered = read[:, 9] > 0.99, self.evidence.rendered.double()
        if contrast is None:
            some = rendered[inside]
            contrast = float((some * read[inside, :3]).sum() / some.square().sum().clamp_min(1e-12))
        residual = (read[:, :3] - contrast * rendered) * inside[:, None]
        return _State(pose=pose, contrast=contrast, in_camera=in_camera, read=read, residual=residual, inside=inside)

    def _shift(self, state: _State) -> Float[Tensor, "3"]:
        """How far the camera has gone from where it was given, in its own frame."""
        return (state.pose @ self.given.inverse())[:3, 3]

    def error(self, state: _State) -> float:
        """Mean of Huber's loss over the points inside the mask, and the prior; infinite when too few are left."""
        if int(state.inside.sum()) < self.least:
            return math.inf
        size = state.residual[state.inside].abs() / self.scale
        held = self.prior * float(self._shift(state).square().sum()) / (size.numel() * self.scale**2)
        return float(torch.where(size < 1, size.square(), 2 * size - 1).mean()) + held

    def equations(self, state: _State) -> tuple[Float[Tensor, "7 7"], Float[Tensor, "7"]]:
        """Gauss-Newton's, of a shift of the camera, a turn about its centre, and the contrast."""
        K = self.evidence.camera.K.double()
        x, y, z = state.in_camera.unbind(-1)
        right, down = K[0, 0] * state.read[:, 3:6], K[1, 1] * state.read[:, 6:9]
        along = -(right * x[:, None] + down * y[:, None]) / z[:, None]
        shift = torch.stack([right, down, along], -1) / z[:, None, None]
        turn = torch.linalg.cross(state.in_camera[:, None].expand_as(shift), shift)
        jacobian = torch.cat([shift, turn, -self.evidence.rendered.double()[..., None]], -1).reshape(-1, 7)
        weight = (state.inside[:, None] / (state.residual.abs() / self.scale).clamp_min(1)).reshape(-1, 1)
        matrix = jacobian.mT @ (weight * jacobian)
        vector = (jacobian.mT @ (weight * state.residual.reshape(-1, 1)))[:, 0]
        matrix.diagonal()[:3] += self.prior
        vector[:3] += self.prior * self._shift(state)
        return matrix, vector


def align(evidence: Evidence) -> Aligned:
    """Levenberg-Marquardt over the pose and the contrast, under Huber's loss; keeps only steps that lower it."""
    alignment = _Alignment(evidence)
    state, damping = alignment.start, 1e-3
    start = error = alignment.error(state)
    for _ in range(ITERATIONS):
        matrix, vector = alignment.equations(state)
        previous = error
        for _ in range(TRIES):
            step = torch.linalg.solve(matrix + damping * torch.diag(matrix.diagonal() + 1e-12), -vector)
            moved = _exponential(step[:6], torch.zeros(3, dtype=torch.float64)) @ state.pose
            new = alignment.look(moved, state.contrast + float(step[6]))
            if alignment.error(new) < error:
                state, error, damping = new, alignment.error(new), max(damping / 10, 1e-6)
                break
            damping *= 10
        if error > (1 - SETTLED) * previous:
            break
    way = evidence.camera.project(evidence.points)[0] - _project(evidence.camera, state.in_camera)
    return Aligned(
        cam_from_world=state.pose,
        gain=1 - error / max(start, 1e-12),
        moved_px=float(way.square().sum(1).mean().sqrt()),
    )


def _project(camera: Camera, in_camera: Float[Tensor, "points 3"]) -> Float[Tensor, "points 2"]:
    image = in_camera @ camera.K.double().mT
    return image[:, :2] / image[:, 2:]
