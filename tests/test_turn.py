"""Points that turned under a still light: as if each photo's light had been turned the other way by itself."""

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.geometry.normals import vertex_normals
from pipeline.scene import Environment
from pipeline.shading.gather import transfer, transfer_at
from pipeline.shading.light_rotation import rotated
from pipeline.shading.octahedral import texel_solid_angles
from pipeline.shading.shade import shade, shade_eager
from pipeline.shading.shadowed_light import bounce_light, shadowed_light
from pipeline.shading.turn import MOST_BOUNCES, Turn, spread_turns
from pipeline.shading.visibility import SIZE, SurfacePoints, coarse_light, coarse_lights, trace_visibility
from tests.shapes import bumpy_sphere


def turns(count):
    """Rotations by even steps about a slanted axis."""
    axis = normalize(torch.tensor([0.2, 1.0, 0.1], dtype=torch.float64), dim=0)
    x, y, z = axis.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    angles = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count
    return torch.linalg.matrix_exp(angles[:, None, None] * cross).float()


def harmonics(seed=0, degree=3):
    generator = torch.Generator().manual_seed(seed)
    coefficients = 0.3 * torch.randn((degree + 1) ** 2, 3, generator=generator)
    coefficients[0] = 4.0
    return Environment(coefficients=coefficients, basis="sh")


@pytest.mark.parametrize("shading", [shade, shade_eager])
def test_turned_points_see_the_light_turned_back(shading):
    """On a mesh that shadows and lights itself, against the light's own rotation, which is exact for harmonics."""
    vertices, faces = bumpy_sphere(10, 16)
    vertices = vertices.float()
    normals = vertex_normals(vertices, faces)
    visibility = trace_visibility(vertices, faces, normals)
    light, reflectance, rotations = harmonics(), torch.full((len(vertices), 3), 0.6), turns(5)
    generator = torch.Generator().manual_seed(1)
    count = 300
    corners = faces[torch.randint(len(faces), (count,), generator=generator)].int()
    weights = torch.rand(count, 3, generator=generator)
    points = SurfacePoints(corners=corners, weights=weights / weights.sum(1, keepdim=True))
    normal = normalize(points.blend(normals), dim=-1)
    wo = normalize(normal + 0.8 * normalize(torch.randn(count, 3, generator=generator), dim=-1), dim=-1)
    material = {
        "base_color": torch.rand(count, 3, generator=generator),
        "roughness": torch.rand(count, generator=generator),
        "metallic": torch.rand(count, generator=generator),
    }
    of_point = torch.randint(5, (count,), generator=generator)
    turn = Turn(light_from_world=rotations, of_point=of_point, bounce=torch.arange(5))
    bounce = bounce_light(light, visibility, reflectance, rotations)
    turned = shading(shadowed_light(light, visibility, points, bounce, turn), **material, normal=normal, wo=wo)
    for k in range(5):
        own = rotated(light, rotations[k].mT)
        still = shadowed_light(own, visibility, points, bounce_light(own, visibility, reflectance))
        expected = shading(still, **material, normal=normal, wo=wo)
        # the light's maps have 32 x 32 texels, read between them after one rotation and before the other
        torch.testing.assert_close(turned[of_point == k], expected[of_point == k], atol=0.01, rtol=0.01)
        assert k == 0 or float((turned - expected)[of_point != k].abs().mean()) > 0.03


def test_a_product_at_points_is_that_at_the_rows_between_them():
    generator = torch.Generator().manual_seed(0)
    matrix, lights = torch.rand(20, 64, generator=generator), torch.rand(3, 64, 3, generator=generator)
    corners = torch.randint(20, (50, 3), generator=generator, dtype=torch.int32)
    weights, index = torch.rand(50, 3, generator=generator), torch.randint(3, (50,), generator=generator)
    outwards = torch.randn(50, 3, generator=generator)

    def compare(values, gradient):
        double = lights.double().requires_grad_()
        rows = torch.stack([matrix.double() @ light for light in double])  # (lights, rows, 3)
        expected = (rows[index[:, None], corners.long()] * weights[..., None]).sum(1)
        expected.backward(outwards.double())
        torch.testing.assert_close(values.double(), expected, atol=1e-5, rtol=1e-5, check_dtype=False)
        torch.testing.assert_close(gradient.double(), double.grad, atol=1e-5, rtol=1e-5)

    for dtype in (torch.float32, torch.float64):
        given = lights.to(dtype).clone().requires_grad_()
        values = transfer_at(matrix.to(dtype), (corners, weights.to(dtype)), given, index)
        values.backward(outwards.to(dtype))
        compare(values.detach(), given.grad)
    rows = transfer(matrix, lights[1])
    one = transfer_at(matrix, (corners[:, :1] * 0 + 7, torch.ones(50, 1)), lights, torch.ones(50, dtype=torch.int64))
    torch.testing.assert_close(one, rows[7].expand(50, -1))


@pytest.mark.parametrize("size", [32, 128])
def test_coarse_light_turns_with_its_energy(size):
    """A lamp of a few degrees, where it is after each of eight turns."""
    light = Environment(coefficients=torch.full((size * size, 3), 0.5), basis="octahedral")
    coefficients = light.coefficients.reshape(size, size, 3)
    coefficients[size // 4 : size // 4 + size // 16, size // 3 : size // 3 + size // 16] = 30.0
    found = coarse_lights(light, turns(8))
    torch.testing.assert_close(found[0], coarse_light(light))
    angle = texel_solid_angles(SIZE)[:, None]
    energy = (found * angle).sum(1) / (coarse_light(light) * angle).sum(0)
    torch.testing.assert_close(energy, torch.ones_like(energy), atol=0.05, rtol=0)
    for k, rotation in enumerate(turns(8)):
        expected = coarse_light(rotated(light, rotation.mT))
        assert float((found[k] - expected).abs().sum() / expected.sum()) < 0.2  # measured .13: blurred by half a texel


@pytest.mark.parametrize("count", [1, 24, 25, 100])
def test_bounces_are_traced_for_turns_near_each(count):
    every = turns(count)
    few, nearest = spread_turns(every)
    assert len(few) <= MOST_BOUNCES
    angle = ((few[nearest].mT @ every).diagonal(dim1=1, dim2=2).sum(1) / 2 - 0.5).clamp(-1, 1).acos()
    assert float(angle.max()) <= 2 * torch.pi / MOST_BOUNCES + 1e-3
