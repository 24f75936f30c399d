"""A tiny capture with truth: a painted ball whose maps are known in closed form, and a finished run of it."""

import json
import shutil

import torch
from torch.nn.functional import normalize

from pipeline.bench.tracer import Placed, Tracer
from pipeline.color import srgb_from_linear
from pipeline.formats.exr import write_exr
from pipeline.formats.gltf import write_glb
from pipeline.formats.images import write_png
from pipeline.formats.radiance import write_hdr
from pipeline.formats.transforms_json import write_cameras
from pipeline.frames import gl_pose_from_cam_from_world, rotation_to_y_up
from pipeline.scene import Asset, Material, Mesh
from pipeline.shading.light_maps import equirect_directions, map_radiance
from tests.shapes import camera_at, cameras_around, pixel_rays, sphere, sphere_hits

SIZE_PX, FOCAL_PX = 48, 60.0
CAMERA = {"size_px": SIZE_PX, "focal_px": FOCAL_PX}
TESTS = {"r_000": camera_at((2.0, 1.5, 3.0), **CAMERA), "r_001": camera_at((-3.0, 0.5, -2.0), **CAMERA)}
LIGHTS = {"day": (1.0, 0.6, 0.3), "evening": (0.3, 0.5, 1.0)}


def light_map(name):
    """A wide lamp of a colour above to the right, over a dim sky; no turn of it looks the same."""
    lamp = normalize(torch.tensor([1.0, 0.8, 0.4]), dim=0)
    glow = torch.exp((equirect_directions(32) @ lamp - 1) / 0.2)[..., None]
    return 0.2 + 1.5 * glow * torch.tensor(LIGHTS[name])


def ramp(x, y):
    """Base colour, roughness and metallic, linear in x and y: textures of any size hold them exactly."""
    u, v = (x + 1.1) / 2.2, (1.1 - y) / 2.2
    return torch.stack([0.2 + 0.5 * u, 0.6 - 0.4 * v, 0.3 + 0 * u, 0.4 + 0.4 * v, 0.2 * u], -1)


def ball(*, gain=1.0):
    """The ball as an asset, its base colour multiplied by `gain`."""
    vertices, faces = sphere(41)
    vertices = normalize(vertices.float(), dim=1)
    uvs = torch.stack([(vertices[:, 0] + 1.1) / 2.2, (1.1 - vertices[:, 1]) / 2.2], 1)
    at = ((torch.arange(64) + 0.5) / 64) * 2.2 - 1.1
    maps = ramp(*torch.meshgrid(at, -at, indexing="xy"))
    orm = torch.stack([torch.ones(64, 64), maps[..., 3], maps[..., 4]], -1)
    mesh = Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=faces)
    return Asset(mesh=mesh, material=Material(base_color=maps[..., :3] * gain, orm=orm))


def write_truth_capture(folder):
    """Write the capture, +Z up; returns its folder."""
    for name in ("test", "test_gt", "relit", "hdri", "train"):
        (folder / name).mkdir(parents=True)
    for name in LIGHTS:
        write_hdr(folder / "hdri" / f"{name}.hdr", light_map(name))
    asset = ball()
    tracer = Tracer(Placed(mesh=asset.mesh, normals=asset.mesh.vertices, tangents=None, material=asset.material))
    test, relit = [], []
    for environment, frames, where in (("day", test, "test"), ("evening", relit, "relit")):
        tracer.light_by(light_map(environment), torch.eye(3))
        for index, (name, camera) in enumerate(TESTS.items()):
            write_picture(folder / where / f"{name}.png", tracer.render(camera, samples=128, seed=7))
            told = {"file_path": f"./{where}/{name}", "transform_matrix": pose(camera)}
            if where == "relit":
                told |= {"test_view": index, "env": environment, "env_strength": 1.0}
            frames.append(told)
    for name, camera in TESTS.items():
        write_maps(folder / "test_gt" / f"{name}_gt.exr", camera)
    train = [
        {"file_path": f"./train/{k:03d}", "transform_matrix": pose(c)}
        for k, c in enumerate(cameras_around(8, **CAMERA))
    ]
    lens = {"fl_x": FOCAL_PX, "fl_y": FOCAL_PX, "cx": SIZE_PX / 2, "cy": SIZE_PX / 2, "w": SIZE_PX, "h": SIZE_PX}
    for name, frames in (("train", train), ("test", test), ("relit", relit)):
        lit = {"env": "day", "env_strength": 1.0} if name == "test" else {}
        (folder / f"transforms_{name}.json").write_text(json.dumps(lens | lit | {"frames": frames}))
    vertices = asset.mesh.vertices @ turn()[:3, :3].float()
    write_ply(folder / "mesh_world.ply", vertices, asset.mesh.faces)
    return folder


def turn():
    """From the capture's world to the project's."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = rotation_to_y_up(torch.tensor([0.0, 0.0, 1.0]))
    return matrix


def pose(camera):
    return gl_pose_from_cam_from_world(camera.moved(turn().mT).cam_from_world).tolist()


def write_picture(path, traced):
    alpha = traced[..., 3:].clamp(0, 1)
    straight = srgb_from_linear(traced[..., :3] / alpha.clamp_min(1e-4))
    write_png(path, (torch.cat([straight, alpha], -1) * 255).round().byte().numpy())


def write_maps(path, camera):
    """The true maps in the middles of the pixels, by ray casting."""
    hits, distance = (x[..., 0] for x in sphere_hits(camera))
    rays = pixel_rays(camera)[:, :, 0]
    at = camera.camera_center + distance[..., None] * rays
    base = torch.where(hits[..., None], ramp(at[..., 0], at[..., 1]), 0)
    normal = torch.where(hits[..., None], at @ turn()[:3, :3], 0)
    channels = {f"albedo.{c}": base[..., k] for k, c in enumerate("RGB")}
    channels |= {f"normal.{c}": normal[..., k] for k, c in enumerate("XYZ")}
    channels |= {"roughness.V": base[..., 3], "metallic.V": base[..., 4], "A": hits}
    channels["depth.V"] = torch.where(hits, distance * (rays @ camera.forward), 0)
    write_exr(path, channels)


def write_ply(path, vertices, faces):
    head = f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
    head += f"property float z\nelement face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    rows = [" ".join(map(str, row)) for row in vertices.tolist()] + [f"3 {a} {b} {c}" for a, b, c in faces.tolist()]
    path.write_text(head + "\n".join(rows) + "\n")


def write_run(folder, capture, *, gain=1.0):
    """A finished run of the capture in a frame of its own, perfect but for `gain` on its base colour."""
    folder.mkdir()
    asset = ball(gain=gain)
    axis = torch.tensor([[0, -0.3, 0.8], [0.3, 0, -0.2], [-0.8, 0.2, 0]], dtype=torch.float64)
    rotation = torch.linalg.matrix_exp(axis)
    placed = torch.eye(4, dtype=torch.float64)
    placed[:3, :3], placed[:3, 3] = 0.4 * rotation, torch.tensor([0.1, 0.5, -0.2])
    vertices = (asset.mesh.vertices.double() @ placed[:3, :3].mT + placed[:3, 3]).float()
    mesh = Mesh(vertices=vertices, faces=asset.mesh.faces, uvs=asset.mesh.uvs, uv_faces=asset.mesh.uv_faces)
    normals = asset.mesh.vertices @ rotation.mT.float()
    write_glb(Asset(mesh=mesh, material=asset.material), normals, folder / "asset.glb")
    cameras = {f"{k:03d}": c.moved(placed) for k, c in enumerate(cameras_around(8, **CAMERA))}
    write_cameras(folder / "cameras.json", cameras)
    inside = equirect_directions(64) @ rotation.float()
    light = map_radiance(light_map("day"), inside.reshape(-1, 3)).reshape(inside.shape)
    write_hdr(folder / "light.hdr", light)
    stage = {"name": "x", "wall_s": 90.0, "cpu_s": 120.0, "peak_rss_mib": 512.0, "device": "cpu", "reused": True}
    (folder / "run.json").write_text(json.dumps({"stages": [stage]}))
    return folder


def copy_without(capture, folder, name):
    """The capture but for one file or folder."""
    shutil.copytree(capture, folder)
    left_out = folder / name
    shutil.rmtree(left_out) if left_out.is_dir() else left_out.unlink()
    return folder
