"""A known object recovered from its own renders: its pose, then its shape, then its material and light."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.geometry.normals import vertex_normals
from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.gbuffer import clip_positions, depth_range
from pipeline.scene import Camera, Environment
from pipeline.shading.octahedral import texel_directions
from pipeline.shading.prefilter import prefilter
from pipeline.shading.shade import shade
from pipeline.shading.spherical_harmonics import sh_basis
from tests.shapes import camera_at, cameras_around, sphere

RASTERIZER = CpuRasterizer()
SIZE = 64


@pytest.fixture(scope="module")
def blob():
    """A sphere with three unequal bumps, and a colour at each vertex: it looks different from everywhere."""
    vertices, faces = sphere(21)
    directions = normalize(vertices, dim=-1)
    bumps = normalize(
        torch.tensor([[1.0, 0.4, 0.2], [-0.6, 0.7, 0.5], [0.1, -0.5, -0.9]], dtype=vertices.dtype), dim=-1
    )
    height = torch.exp((directions @ bumps.mT - 1) / 0.15) @ torch.tensor([0.35, 0.25, 0.3], dtype=vertices.dtype)
    shape = (directions * (1 + height)[:, None]).float()
    return shape, directions.float(), faces, (directions * 0.4 + 0.5).float()


def ring_of_cameras():
    """Eight cameras in one batch."""
    cameras = cameras_around(8, distance=4.0, size_px=SIZE, focal_px=1.3 * SIZE)
    poses = torch.stack([camera.cam_from_world for camera in cameras])
    return Camera(K=cameras[0].K.expand(8, 3, 3), cam_from_world=poses, width=SIZE, height=SIZE)


def picture(vertices, faces, colors, camera):
    """Antialiased colours over black, with coverage as the fourth channel."""
    near, far = depth_range(vertices.detach(), camera)
    clip = clip_positions(vertices, camera, near=0.8 * near, far=1.2 * far)
    raster = RASTERIZER.rasterize(clip, faces, size_px=(camera.width, camera.height))
    surface = RASTERIZER.interpolate(colors, raster, faces)
    return RASTERIZER.antialias(torch.cat([surface, raster.mask[..., None].float()], -1), raster, clip, faces)


def rotation(turn):
    """The rotation by a vector's length about its direction."""
    x, y, z = turn
    zero = torch.zeros_like(x)
    cross = torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
    return torch.linalg.matrix_exp(cross)


def test_a_pose_is_found_again(blob):
    vertices, _, faces, colors = blob
    camera = camera_at((1.0, 1.5, 3.5), size_px=SIZE, focal_px=1.3 * SIZE)
    target = picture(vertices, faces, colors, camera)
    turn = torch.tensor([0.10, -0.12, 0.08], requires_grad=True)  # 10 degrees
    shift = torch.tensor([0.10, -0.06, 0.12], requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [turn], "lr": 0.02}, {"params": [shift], "lr": 0.015}])
    for step in range(140):
        optimizer.zero_grad()
        moved = vertices @ rotation(turn).mT + shift
        (picture(moved, faces, colors, camera) - target).square().mean().backward()
        optimizer.step()
        if step == 90:
            for group in optimizer.param_groups:
                group["lr"] *= 0.2
    assert math.degrees(float(turn.detach().norm())) < 0.1  # measured 0.01
    assert float(shift.detach().norm()) < 0.005  # measured 3e-5, of a radius of 1


def test_a_shape_is_found_again(blob):
    """From the sphere, by silhouettes and shading alone: each vertex moves along its ray, smoothed over the surface."""
    shape, directions, faces, _ = blob
    cameras = ring_of_cameras()

    def images(vertices):
        return picture(vertices, faces, vertex_normals(vertices, faces) * 0.5 + 0.5, cameras)

    target = images(shape)
    true_radius = shape.norm(dim=-1)
    # A smooth function on the sphere by harmonics: the free parameters of a shape that has no dents.
    basis = sh_basis(directions, 10)
    weights = torch.zeros(basis.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.02)
    for step in range(100):
        optimizer.zero_grad()
        (images(directions * (1 + basis @ weights)[:, None]) - target).square().mean().backward()
        optimizer.step()
        if step == 70:
            optimizer.param_groups[0]["lr"] = 0.004
    found = 1 + (basis @ weights).detach()
    before, after = (1 - true_radius).abs().mean(), (found - true_radius).abs().mean()
    assert float(before) > 0.05
    assert float(after) < 0.1 * float(before)  # measured 0.006
    assert float((found**3).mean() / (true_radius**3).mean()) == pytest.approx(1, abs=0.01)


def test_material_and_light_are_found_again(blob):
    """One paint under light of degree 3, from eight views: colour and light up to one common factor."""
    shape, _, faces, _ = blob
    cameras = ring_of_cameras()
    normal, wo = surface(shape, faces, cameras)
    generator = torch.Generator().manual_seed(0)
    true_light = 0.35 * torch.randn(16, 3, generator=generator)
    true_light[0] = 3.0
    true_color, true_roughness = torch.tensor([0.6, 0.35, 0.2]), 0.35

    def image(color, roughness, light):
        count = len(normal)
        return shade(
            prefilter(Environment(coefficients=light, basis="sh")),
            base_color=color.expand(count, 3),
            roughness=roughness.expand(count),
            metallic=torch.zeros(count),
            normal=normal,
            wo=wo,
        )

    target = image(true_color, torch.tensor(true_roughness), true_light)
    color, rough = torch.zeros(3, requires_grad=True), torch.tensor(0.5, requires_grad=True)
    light = torch.zeros(16, 3)
    light[0] = 2.5
    light.requires_grad_()
    optimizer = torch.optim.Adam([color, rough, light], lr=0.03)
    for step in range(400):
        optimizer.zero_grad()
        (image(torch.sigmoid(color), torch.sigmoid(rough), light) - target).abs().mean().backward()
        optimizer.step()
        if step in (250, 330):
            optimizer.param_groups[0]["lr"] *= 0.3
    found, scale = torch.sigmoid(color).detach(), light.detach()[0] / true_light[0]
    assert torch.sigmoid(rough).item() == pytest.approx(true_roughness, abs=0.03)  # measured .338
    torch.testing.assert_close(found * scale, true_color, atol=0.02, rtol=0)
    directions = texel_directions(16)
    seen, true = (sh_basis(directions, 3) @ x for x in (light.detach() / scale, true_light))
    assert float((seen - true).abs().mean() / true.abs().mean()) < 0.05


def surface(vertices, faces, cameras: Camera):
    """Normals and directions to the camera of every eighth pixel that shows the mesh."""
    near, far = depth_range(vertices, cameras)
    clip = clip_positions(vertices, cameras, near=near, far=far)
    raster = RASTERIZER.rasterize(clip, faces, size_px=(SIZE, SIZE))
    values = RASTERIZER.interpolate(torch.cat([vertices, vertex_normals(vertices, faces)], 1), raster, faces)
    view = raster.mask.nonzero()[:, 0]
    seen = values[raster.mask]
    wo = normalize(cameras.camera_center.float()[view] - seen[:, :3], dim=-1)
    return normalize(seen[::8, 3:], dim=-1), wo[::8]
