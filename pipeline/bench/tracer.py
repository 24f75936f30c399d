"""Path tracing by Mitsuba 3: a second renderer, which shares nothing with our shading.

W. Jakob et al., "Mitsuba 3 renderer", 2022. glTF's model is put together from its parts, see `_surface`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.bench.coat import body_of_coat
from pipeline.errors import UsageError
from pipeline.frames import gl_pose_from_cam_from_world, mitsuba_pose_from_gl_pose
from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.scene import Camera, Material, Mesh

LONGEST_PATH = 5  # segments from the camera on; 2 is direct light alone
_LEAST_ALPHA = 1e-3
_MARGIN_PX = 3
FILTER_PX = 0.42  # standard deviation of the filter of Blackman and Harris that Blender renders with, 3 pixels wide


@dataclass(frozen=True, eq=False, kw_only=True)
class Placed:
    """An asset in the world that it is judged in.

    Attributes:
        mesh: With texture coordinates.
        normals: Unit vertex normals.
        tangents: Per corner, w = sign of the bitangent, or none: then MikkTSpace's are made where they are needed.
        material: Its maps.
    """

    mesh: Mesh
    normals: Float[Tensor, "vertices 3"]
    tangents: Float[Tensor, "faces 3 4"] | None
    material: Material


class Tracer:
    """An asset under light maps, seen by pinhole cameras.

    Args:
        placed: The asset.

    Raises:
        UsageError: When Mitsuba is not installed.
    """

    def __init__(self, placed: Placed) -> None:
        self._mi = load_mitsuba()
        self._vertices = placed.mesh.vertices
        self._shapes = _shapes(self._mi, placed)
        self._integrator = self._mi.load_dict({"type": "path", "max_depth": LONGEST_PATH, "hide_emitters": True})
        self._scene: Any = None

    def light_by(self, light: Float[Tensor, "rows columns 3"], world_from_light: Float[Tensor, "3 3"]) -> None:
        """Light the asset by a longitude-latitude map.

        Args:
            light: Linear radiance; `frames.equirect_uv_from_direction` says where its directions are.
            world_from_light: Rotation of the map.
        """
        transform = np.eye(4)
        transform[:3, :3] = world_from_light.double().numpy()
        turned = self._mi.ScalarTransform4f(transform) @ self._mi.ScalarTransform4f().rotate([0, 1, 0], 90)
        pixels = self._mi.Bitmap(np.ascontiguousarray(light.float().numpy()))
        emitter = {"type": "envmap", "bitmap": pixels, "to_world": turned}
        self._scene = self._mi.load_dict({"type": "scene", "light": emitter, **self._shapes})

    def render(self, camera: Camera, *, samples: int, seed: int) -> Float[Tensor, "height width 4"]:
        """Linear RGB, multiplied by alpha, and alpha.

        Args:
            camera: In the asset's world, with square pixels and no skew.
            samples: Paths per pixel.
            seed: Pictures of different seeds have independent noise.
        """
        left, top, right, bottom = self._frame(camera)
        film = {
            "type": "hdrfilm",
            "width": camera.width,
            "height": camera.height,
            "crop_offset_x": left,
            "crop_offset_y": top,
            "crop_width": right - left,
            "crop_height": bottom - top,
            "pixel_format": "rgba",
            "rfilter": {"type": "gaussian", "stddev": FILTER_PX},
        }
        pose = mitsuba_pose_from_gl_pose(gl_pose_from_cam_from_world(camera.cam_from_world))
        distance = float(camera.camera_center.norm())
        sensor = {
            "type": "perspective",
            "fov_axis": "x",
            "fov": float(np.degrees(2 * np.arctan(camera.width / 2 / float(camera.K[0, 0])))),
            "principal_point_offset_x": 0.5 - float(camera.K[0, 2]) / camera.width,
            "principal_point_offset_y": 0.5 - float(camera.K[1, 2]) / camera.height,
            "near_clip": 1e-4 * max(distance, 1.0),
            "far_clip": 1e4 * max(distance, 1.0),
            "to_world": self._mi.ScalarTransform4f(pose.numpy()),
            "film": film,
            "sampler": {"type": "independent", "sample_count": samples},
        }
        sensor = self._mi.load_dict(sensor)
        traced = self._mi.render(self._scene, sensor=sensor, integrator=self._integrator, spp=samples, seed=seed)
        picture = torch.zeros(camera.height, camera.width, 4)
        picture[top:bottom, left:right] = torch.from_numpy(np.array(traced)).float()
        return picture

    def _frame(self, camera: Camera) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the pixels that the asset may cover: the others need no paths."""
        pixels, depth = camera.project(self._vertices)
        size = torch.tensor([camera.width, camera.height])
        if not bool((depth > 0).all()):
            return 0, 0, camera.width, camera.height
        low = (pixels.amin(0) - _MARGIN_PX).floor().long().clamp_min(0).minimum(size - 1)
        high = (pixels.amax(0) + _MARGIN_PX).ceil().long().minimum(size).maximum(low + 1)
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        return left, top, right, bottom


def load_mitsuba() -> Any:  # noqa: ANN401  # a module without types
    """Mitsuba, set to its variant that needs no other library.

    Raises:
        UsageError: When it is not installed.
    """
    try:
        import mitsuba
    except ImportError as error:
        raise UsageError(
            f"recon bench judges with the renderer Mitsuba 3, which cannot be loaded: {error}",
            remedy="pip install 'recon-pbr[bench]'",
        ) from error
    mitsuba.set_variant("scalar_rgb")
    return mitsuba


def _shapes(mi: Any, placed: Placed) -> dict[str, Any]:  # noqa: ANN401
    """The asset as one shape, or two where mirrored texture coordinates turn its normal map's green around."""
    material, faces = placed.material, torch.ones(len(placed.mesh.faces), dtype=torch.bool)
    if material.normal is None:
        return {"asset": _shape(mi, placed, faces, _surface(mi, material))}
    tangents = placed.tangents if placed.tangents is not None else mikktspace_tangents(placed.mesh, placed.normals)
    mirrored = tangents[:, 0, 3] < 0
    shapes = {}
    for name, some, sign in (("asset", ~mirrored, 1.0), ("mirrored", mirrored, -1.0)):
        if bool(some.any()):
            stored = (material.normal - 0.5) * torch.tensor([1.0, sign, 1.0]) + 0.5
            bumpy = {
                "type": "normalmap",
                "use_shadowing_function": False,
                "normalmap": _texture(mi, stored, material),
                "bsdf": _surface(mi, material),
            }
            shapes[name] = _shape(mi, placed, some, bumpy)
    return shapes


def _shape(mi: Any, placed: Placed, some: Tensor, surface: dict[str, Any]) -> object:  # noqa: ANN401
    """Some faces of the asset as a shape, each with corners of its own."""
    mesh = placed.mesh
    if mesh.uvs is None or mesh.uv_faces is None:
        raise ValueError("the asset has no texture coordinates")
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict({"type": "twosided", "surface": surface})
    corners, count = mesh.faces[some].reshape(-1), 3 * int(some.sum())
    shape = mi.Mesh("asset", count, count // 3, has_vertex_normals=True, has_vertex_texcoords=True, props=properties)
    arrays = mi.traverse(shape)
    arrays["vertex_positions"] = mesh.vertices[corners].float().numpy().ravel()
    arrays["vertex_normals"] = placed.normals[corners].float().numpy().ravel()
    arrays["vertex_texcoords"] = mesh.uvs[mesh.uv_faces[some].reshape(-1)].float().numpy().ravel()
    arrays["faces"] = np.arange(count, dtype=np.uint32)
    arrays.update()
    return shape


def _surface(mi: Any, material: Material) -> dict[str, Any]:  # noqa: ANN401
    """The metallic-roughness model of glTF as a blend of lobes.

    A metal is `principled`'s: GGX with Schlick's Fresnel term from the base colour. A dielectric is not, as Disney's
    diffuse term has no equal in glTF: its gloss is a GGX lobe with the Fresnel term of index 1.5 (f0 = 0.04), that of
    a conductor without absorption; its body is Lambert's law below the coat. Blends halve their parts, so these are
    given twice.
    """
    roughness, metallic = material.orm[..., 1:2], material.orm[..., 2:3]
    smooth_share, let_through = body_of_coat(roughness)
    body = _texture(mi, 2 * let_through * material.base_color, material)
    return _blend(
        _texture(mi, metallic, material),
        _blend(
            0.5,
            _blend(
                _texture(mi, smooth_share, material),
                {"type": "diffuse", "reflectance": body},
                {"type": "plastic", "int_ior": 1.5, "diffuse_reflectance": body, "specular_reflectance": 0.0},
            ),
            {
                "type": "roughconductor",
                "distribution": "ggx",
                "eta": 1.5,
                "k": 0.0,
                "alpha": _texture(mi, (roughness**2).clamp_min(_LEAST_ALPHA), material),
                "specular_reflectance": 2.0,
            },
        ),
        {
            "type": "principled",
            "metallic": 1.0,
            "roughness": _texture(mi, roughness, material),
            "base_color": _texture(mi, material.base_color, material),
        },
    )


def _blend(weight: object, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {"type": "blendbsdf", "weight": weight, "first": first, "second": second}


def _texture(mi: Any, values: Float[Tensor, "height width channels"], material: Material) -> dict[str, Any]:  # noqa: ANN401
    bitmap = mi.Bitmap(np.ascontiguousarray(values.float().numpy()))
    return {"type": "bitmap", "bitmap": bitmap, "raw": True, "wrap_mode": "repeat" if material.wrap else "clamp"}
