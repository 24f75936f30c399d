"""The last bundle adjustment: robust, of what constrains the cameras, without distortion that no photo shows."""

import math

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap
from jaxtyping import Float

MIN_TRACK = 3  # photos: a point that two photos see fits any error along the epipolar line
MAX_ERROR_PX = 4.0  # COLMAP's own limit
MIN_ANGLE_DEG = 1.5
CAUCHY_EFFICIENT = 2.385  # times sigma: 95 % as precise as least squares on Gaussian errors (Huber, 1981)
MEDIAN_OF_RAYLEIGH = 1.1774  # times sigma, of the length of a Gaussian error in two dimensions
MIN_SIGMA_PX = 0.05


def polish(model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """The model with refined poses, points, focal lengths and distortion.

    Points that fewer than three photos see are dropped while it has enough others; the loss is Cauchy's, its scale
    from the errors themselves. Distortion is set to zero for all cameras when the gain in likelihood that it brings
    is below the Bayesian information criterion's price for its terms. The principal point stays in the middle:
    few captures tell it apart from a turn of the camera.
    """
    _drop_weak_points(model)
    sigma = max(MIN_SIGMA_PX, float(np.median(reprojection_errors(model))) / MEDIAN_OF_RAYLEIGH)
    options = _options(CAUCHY_EFFICIENT * sigma)
    pycolmap.bundle_adjustment(model, options)
    if any(_has_distortion(c) for c in model.cameras.values()):
        model = _without_idle_distortion(model, options, sigma)
    model.update_point_3d_errors()
    pycolmap.ObservationManager(model).filter_all_points3D(MAX_ERROR_PX, MIN_ANGLE_DEG)
    model.update_point_3d_errors()
    return model


def _has_distortion(camera: pycolmap.Camera) -> bool:
    return len(camera.extra_params_idxs()) > 0


def _drop_weak_points(model: pycolmap.Reconstruction) -> None:
    observations = pycolmap.ObservationManager(model)
    observations.filter_all_points3D(MAX_ERROR_PX, MIN_ANGLE_DEG)
    long = sum(p.track.length() >= MIN_TRACK for p in model.points3D.values())
    if long >= model.num_points3D() / 2:
        observations.filter_points3D_with_short_tracks(MIN_TRACK)


def _options(loss_scale_px: float) -> pycolmap.BundleAdjustmentOptions:
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_principal_point = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = loss_scale_px
    options.ceres.solver_options.num_threads = 1  # more make the last digits vary
    options.ceres.solver_options.function_tolerance = 1e-8
    return options


def _without_idle_distortion(
    model: pycolmap.Reconstruction, options: pycolmap.BundleAdjustmentOptions, sigma_px: float
) -> pycolmap.Reconstruction:
    """The model refitted without distortion, when that explains the photos as well (Schwarz, 1978)."""
    straight = pycolmap.Reconstruction(model)
    terms = 0
    for camera in straight.cameras.values():
        params, idle = camera.params.copy(), list(camera.extra_params_idxs())
        params[idle] = 0.0
        camera.params = params
        terms += len(idle)
    options.refine_extra_params = False
    pycolmap.bundle_adjustment(straight, options)
    scale = options.ceres.loss_function_scale
    gain = (_loss(straight, scale) - _loss(model, scale)) / sigma_px**2
    price = terms * math.log(max(2, 2 * model.compute_num_observations()))
    return straight if gain < price else model


def _loss(model: pycolmap.Reconstruction, scale_px: float) -> float:
    """Sum of Cauchy's loss over all observations, in square pixels."""
    squares = reprojection_errors(model) ** 2
    return float((scale_px**2 * np.log1p(squares / scale_px**2)).sum())


def reprojection_errors(model: pycolmap.Reconstruction) -> Float[np.ndarray, "observations"]:
    """Distance of every observation from its point's projection, in pixels."""
    return np.concatenate([*errors_by_photo(model).values(), np.zeros(0)])


def errors_by_photo(model: pycolmap.Reconstruction) -> dict[str, Float[np.ndarray, "observations"]]:
    """The same, by the photo's name."""
    errors = {}
    for image in model.images.values():
        if not image.has_pose:
            continue
        seen = image.get_observation_points2D()
        found = np.array([p.xy for p in seen]).reshape(-1, 2)
        points = np.array([model.points3D[p.point3D_id].xyz for p in seen]).reshape(-1, 3)
        pose = image.cam_from_world().matrix()
        projected = model.cameras[image.camera_id].img_from_cam(points @ pose[:, :3].T + pose[:, 3])
        errors[image.name] = np.linalg.norm(np.asarray(projected).reshape(-1, 2) - found, axis=1)
    return errors
