#!/usr/bin/env python
"""Render the sample capture in `data/sample`: a tin robot on a table, its photos and the truth behind them.

Everything is procedural and seeded: the shape is a union of closed lathes and tubes, its maps are painted from
noise and line art, the room is painted on the walls of a box. Mitsuba 3 renders it (extra `bench`):

    python scripts/make_sample.py --out data/sample --variant llvm_ad_rgb

World frame: glTF's (+Y up, the robot looks towards +Z), metres, the table's top at y = 0. Pixel values are linear
radiance, so `truth/light.hdr` is in the units of the linearised photos.
"""

from __future__ import annotations  # the types of mitsuba exist once a variant is chosen

import argparse
import datetime
import math
import time
from dataclasses import dataclass
from pathlib import Path

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sample_scene.model import Model, build_model, table_model
from sample_scene.robot import robot
from sample_scene.room import room
from sample_scene.surfaces import Array, unit
from sample_scene.truth import write_transforms, write_truth

FOCAL_35MM = 40.0  # 35 mm equivalent by the diagonal, as cameras write it
RINGS = ((12, 15.0, 0.52), (12, 35.0, 0.51), (8, 60.0, 0.46))  # views, elevation in degrees, distance
LOOK_AT = (0.0, 0.086, 0.0)
SENSOR_GAIN, READ_NOISE = 1.0e-4, 1.2e-3  # linear variance per unit signal, and standard deviation in the dark


def envmap(light: Array) -> dict[str, object]:
    """Mitsuba's emitter for a map in our convention: its longitude starts a quarter turn later."""
    turned = np.roll(light, -light.shape[1] // 4, axis=1)
    return {"type": "envmap", "bitmap": mi.Bitmap(np.ascontiguousarray(turned, dtype=np.float32))}


def check_light_frame() -> None:
    """Raise unless a red, a green and a blue spot at +X, +Y, +Z are seen there."""
    spots = np.zeros((64, 128, 3))
    spots[29:35, 61:67, 0] = spots[:6, :, 1] = spots[29:35, 93:99, 2] = 1.0
    scene = mi.load_dict({"type": "scene", "integrator": {"type": "path"}, "light": envmap(spots)})
    for k, up in enumerate(((0, 1, 0), (0, 0, 1), (0, 1, 0))):
        to_world = mi.ScalarTransform4f().look_at([0, 0, 0], [float(k == j) for j in range(3)], up)
        film = {"type": "hdrfilm", "width": 3, "height": 3, "rfilter": {"type": "box"}}
        sensor = mi.load_dict({"type": "perspective", "fov": 5.0, "to_world": to_world, "film": film})
        seen = np.asarray(mi.render(scene, sensor=sensor, spp=16)).mean(axis=(0, 1))
        if not np.allclose(seen, np.eye(3)[k], atol=0.05):
            raise ValueError(f"the light's axis {k} shows {seen}")


def as_mesh(name: str, model: Model, bsdf: dict[str, object]) -> mi.Mesh:
    """Mitsuba's mesh for a model."""
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(bsdf)
    mesh = mi.Mesh(
        name,
        len(model.vertices),
        len(model.faces),
        has_vertex_normals=True,
        has_vertex_texcoords=True,
        props=properties,
    )
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = np.ravel(model.vertices).astype(np.float32)
    parameters["vertex_normals"] = np.ravel(model.normals).astype(np.float32)
    parameters["vertex_texcoords"] = np.ravel(model.uvs).astype(np.float32)
    parameters["faces"] = np.ravel(model.faces).astype(np.uint32)
    parameters.update()
    return mesh


def bitmap(pixels: NDArray[np.uint8], *, raw: bool) -> dict[str, object]:
    """Mitsuba's texture for 8-bit pixels; `raw` keeps numbers, else sRGB is decoded."""
    return {"type": "bitmap", "bitmap": mi.Bitmap(np.array(pixels)), "raw": raw}


def build_scene(model: Model, light: Array) -> dict[str, object]:
    """The robot on its table in the room, as a Mitsuba dictionary."""
    table = table_model()
    paint = {
        "type": "principled",
        "base_color": bitmap(model.base_color_srgb, raw=False),
        "roughness": bitmap(model.orm[..., 1:2], raw=True),
        "metallic": bitmap(model.orm[..., 2:3], raw=True),
        "specular": 0.5,
    }
    top = {
        "type": "principled",
        "base_color": bitmap(table.base_color_srgb, raw=False),
        "roughness": 0.6,
        "specular": 0.4,
    }
    return {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 4},
        "robot": as_mesh("robot", model, paint),
        "table": as_mesh("table", table, top),
        "light": envmap(light),
    }


def look_at(eye: Array, target: Array, roll_deg: float) -> Array:
    """Camera-to-world with OpenGL's axes (+x right, +y up, looking along -z)."""
    back = unit(eye - target)
    right = unit(np.cross((0.0, 1.0, 0.0), back))
    up = np.cross(back, right)
    c, s = math.cos(math.radians(roll_deg)), math.sin(math.radians(roll_deg))
    pose = np.eye(4)
    pose[:3] = np.stack([c * right + s * up, c * up - s * right, back, eye], axis=-1)
    return pose


def cameras(rng: np.random.Generator) -> list[Array]:
    """Three hand-held rings around the robot, the first view from the front."""
    poses = []
    for ring, (count, elevation_deg, distance) in enumerate(RINGS):
        for k in range(count):
            azimuth = math.radians(360.0 * (k + 0.35 * ring) / count + 12.0 + rng.normal(0.0, 3.0))
            elevation = math.radians(elevation_deg + rng.normal(0.0, 2.0))
            away = np.array(
                (math.cos(elevation) * math.sin(azimuth), math.sin(elevation), math.cos(elevation) * math.cos(azimuth))
            )
            target = np.asarray(LOOK_AT) + rng.normal(0.0, 0.005, 3) - (0.0, 0.012 * ring, 0.0)
            poses.append(look_at(target + distance * rng.normal(1.0, 0.03) * away, target, rng.normal(0.0, 2.5)))
    return poses


@dataclass(frozen=True, eq=False, kw_only=True)
class Lens:
    """A pinhole camera.

    Attributes:
        pose: Camera-to-world with OpenGL's axes.
        size: Width and height in pixels; the principal point is the middle.
        focal_px: Focal length in pixels.
    """

    pose: Array
    size: tuple[int, int]
    focal_px: float

    def photo(self) -> mi.Sensor:
        """Mitsuba's camera for photos."""
        return self._sensor(
            {"pixel_format": "rgb", "rfilter": {"type": "gaussian"}, "sample_border": True}, "orthogonal"
        )

    def mask(self) -> mi.Sensor:
        """Mitsuba's camera for coverage: the box filter averages over one pixel."""
        return self._sensor({"pixel_format": "rgba", "rfilter": {"type": "box"}}, "multijitter")

    def _sensor(self, film: dict[str, object], sampler: str) -> mi.Sensor:
        """Mitsuba's x axis points left and its z axis forward."""
        to_world = mi.ScalarTransform4f((self.pose @ np.diag((-1.0, 1.0, -1.0, 1.0))).tolist())
        return mi.load_dict(
            {
                "type": "perspective",
                "fov_axis": "x",
                "fov": math.degrees(2.0 * math.atan(0.5 * self.size[0] / self.focal_px)),
                "near_clip": 0.01,
                "to_world": to_world,
                "film": {"type": "hdrfilm", "width": self.size[0], "height": self.size[1], **film},
                "sampler": {"type": sampler},
            }
        )


def develop(render: mi.TensorXf, rng: np.random.Generator) -> Image.Image:
    """Add the sensor's noise to linear pixels and encode them as 8-bit sRGB."""
    radiance = np.asarray(render, dtype=float)
    noisy = radiance + rng.normal(0.0, 1.0, radiance.shape) * np.sqrt(SENSOR_GAIN * radiance + READ_NOISE**2)
    picture = mi.Bitmap(np.clip(noisy, 0.0, 1.0).astype(np.float32))
    encoded = picture.convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.UInt8, srgb_gamma=True)
    return Image.fromarray(np.array(encoded))


def exif(number: int) -> Image.Exif:
    """Tags of a camera with a Four Thirds sensor, fixed exposure and a made-up name."""
    taken = datetime.datetime(2026, 1, 1, 10, 0, tzinfo=datetime.UTC) + datetime.timedelta(seconds=4 * number)
    tags = Image.Exif()
    tags.update({271: "Synthetic", 272: "Recon Sample", 274: 1, 306: f"{taken:%Y:%m:%d %H:%M:%S}"})
    tags.get_ifd(0x8769).update(
        {
            36867: f"{taken:%Y:%m:%d %H:%M:%S}",
            33434: 1 / 60,
            33437: 8.0,
            34855: 400,
            37386: 0.5 * FOCAL_35MM,
            41989: round(FOCAL_35MM),
        }
    )
    return tags


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Render the sample capture and its truth.")
    parser.add_argument("--out", type=Path, default=Path("data/sample"), help="folder to fill")
    parser.add_argument("--spp", type=int, default=49, help="paths per pixel; rounded up to the square of a prime")
    parser.add_argument("--size", default="960x720", help="photo size in pixels, WxH")
    parser.add_argument("--seed", type=int, default=0, help="seed of poses and noise")
    parser.add_argument(
        "--variant", default="scalar_rgb", help="Mitsuba's variant; llvm_ad_rgb is faster but needs LLVM >= 19"
    )
    parser.add_argument("--views", type=int, nargs="*", help="render only these views, from 1 (for a quick look)")
    return parser.parse_args()


def main() -> None:
    """Build the scene, write the truth, take the photos."""
    options = parse_arguments()
    width, height = (int(side) for side in options.size.split("x"))
    focal_px = FOCAL_35MM * math.hypot(width, height) / math.hypot(36.0, 24.0)
    mi.set_variant(options.variant)
    check_light_frame()
    photos, truth = options.out / "photos", options.out / "truth"
    for folder in (photos, truth / "masks"):
        folder.mkdir(parents=True, exist_ok=True)
    poses = cameras(np.random.default_rng(options.seed))
    parts, light = robot(), room(512)
    model = build_model(parts)
    write_truth(truth, parts, model, light)
    write_transforms(truth / "transforms.json", poses, (width, height), focal_px)
    layout = build_scene(model, light)
    scene = mi.load_dict(layout)
    alone = mi.load_dict({"type": "scene", "integrator": {"type": "depth"}, "robot": layout["robot"]})
    for number in options.views or range(1, len(poses) + 1):
        start, name = time.process_time(), f"IMG_{number:04d}"
        lens = Lens(pose=poses[number - 1], size=(width, height), focal_px=focal_px)
        rng = np.random.default_rng((options.seed, number))
        photo = develop(mi.render(scene, sensor=lens.photo(), spp=options.spp, seed=int(rng.integers(2**31))), rng)
        photo.save(photos / f"{name}.jpg", quality=90, exif=exif(number))
        coverage = np.asarray(mi.render(alone, sensor=lens.mask(), spp=25, seed=number))[..., 3]
        Image.fromarray(np.uint8(np.clip(coverage, 0, 1) * 255 + 0.5)).save(
            truth / "masks" / f"{name}.png", optimize=True
        )
        print(f"{name}: {time.process_time() - start:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
