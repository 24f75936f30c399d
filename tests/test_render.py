"""Pictures of assets: normal maps, filtered textures, both sides, smooth outlines, and a renderer's ground truth."""

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.formats.gltf import read_gltf
from pipeline.formats.images import read_image
from pipeline.formats.transforms_json import read_transforms
from pipeline.raster.cpu import CpuRasterizer
from pipeline.scene import Asset, Environment, Material, Mesh
from pipeline.shading.normal_mapping import mapped_normals, visible_normals
from pipeline.shading.octahedral import octahedral_from_direction, texel_directions
from pipeline.shading.render import light_mesh, render
from tests.shapes import camera_at, sphere

RASTERIZER = CpuRasterizer()
WHITE = Environment(coefficients=torch.ones(32 * 32, 3), basis="octahedral")
UPRIGHT = [[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]  # u along +x, v down along -y
MIRRORED = [[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
TURNED = [[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]  # u along -y, v down along -x


def square(uvs=UPRIGHT):
    """A square of side 2 around the origin, facing +z."""
    corners = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices=corners, faces=faces, uvs=torch.as_tensor(uvs).float(), uv_faces=faces)


def plain(color=(0.5, 0.5, 0.5), orm=(1.0, 0.8, 0.0), normal=None, size=4, **how):
    def filled(value):
        return torch.tensor(value).expand(size, size, 3).contiguous()

    bent = None if normal is None else filled(normal) * 0.5 + 0.5
    return Material(base_color=filled(color), orm=filled(orm), normal=bent, **how)


def shot(mesh, material, *, light=WHITE, center=(0.0, 0.0, 4.0), focal_px=40.0, samples=1):
    asset = Asset(mesh=mesh, material=material)
    camera = camera_at(center, size_px=32, focal_px=focal_px)
    return render(asset, light_mesh(asset, light), camera, RASTERIZER, samples=samples)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(
    ("uvs", "stored", "expected"),
    [
        (UPRIGHT, (0.6, 0.0, 0.8), (0.6, 0.0, 0.8)),
        (UPRIGHT, (0.0, 0.6, 0.8), (0.0, 0.6, 0.8)),  # green is up in the texture, and up here
        (MIRRORED, (0.6, 0.0, 0.8), (-0.6, 0.0, 0.8)),
        (MIRRORED, (0.0, 0.6, 0.8), (0.0, 0.6, 0.8)),
        (TURNED, (0.6, 0.0, 0.8), (0.0, -0.6, 0.8)),
        (TURNED, (0.0, 0.6, 0.8), (0.6, 0.0, 0.8)),
    ],
)
def test_a_normal_map_bends_normals_along_the_texture(uvs, stored, expected, samples):
    picture = shot(square(uvs), plain(normal=stored), samples=samples)
    assert picture.mask.sum() > 200
    normals = picture.normal[picture.mask]
    torch.testing.assert_close(normals, torch.tensor(expected).expand_as(normals), atol=1e-5, rtol=0)


def test_mirrored_halves_bend_to_the_seam():
    vertices = torch.tensor([[x, y, 0.0] for y in (-1.0, 1.0) for x in (-1.0, 0.0, 1.0)])
    faces = torch.tensor([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]])
    uvs = torch.stack([1 - vertices[:, 0].abs(), 0.5 - vertices[:, 1] / 2], 1)
    mesh = Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=faces)
    picture = shot(mesh, plain(normal=(0.6, 0.0, 0.8)))
    for half, x in ((picture.normal[:, :16], 0.6), (picture.normal[:, 16:], -0.6)):
        normals = half[half.norm(dim=-1) > 0]
        assert len(normals) > 100
        torch.testing.assert_close(normals, torch.tensor([x, 0.0, 0.8]).expand_as(normals), atol=1e-5, rtol=0)


def test_the_frame_is_interpolated_and_not_brought_to_unit_length():
    normal, tangent = torch.tensor([[0.0, 0.0, 0.5]]), torch.tensor([[0.8, 0.0, 0.0, -1.0]])
    stored = torch.tensor([[1.0, 1.0, 1.0]])  # x = y = z = 1; the bitangent is -cross(n, t) = (0, -0.4, 0)
    expected = normalize(torch.tensor([[0.8, -0.4, 0.5]]), dim=1)
    torch.testing.assert_close(mapped_normals(normal, tangent, stored), expected)
    nothing = mapped_normals(normal, torch.zeros(1, 4), torch.tensor([[1.0, 0.5, 0.5]]))
    torch.testing.assert_close(nothing, torch.tensor([[0.0, 0.0, 1.0]]))


@pytest.mark.parametrize(("height", "width", "tiles"), [(256, 256, 1), (128, 512, 1), (64, 64, 4)])
def test_a_checkerboard_far_away_is_grey(height, width, tiles):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    board = ((rows + columns) % 2).float()[..., None].expand(-1, -1, 3)
    material = Material(base_color=board, orm=torch.ones_like(board), wrap=tiles > 1)
    mesh = square(torch.tensor(UPRIGHT) * tiles)
    picture = shot(mesh, material)
    torch.testing.assert_close(picture.base_color[picture.mask], torch.full((int(picture.mask.sum()), 3), 0.5))
    near = shot(mesh, material, center=(0.0, 0.0, 0.02))
    assert near.base_color[near.mask].std() > 0.15  # between texels, linearly: 1/6


def test_textures_wrap_or_end_as_the_material_says():
    color = torch.zeros(8, 4, 3)
    color[:4, :, 0], color[4:, :, 1] = 1.0, 1.0  # red above green
    uvs = torch.tensor(UPRIGHT) + torch.tensor([0.0, 1.0])  # one tile further down
    for wrap, above in ((True, [1.0, 0.0, 0.0]), (False, [0.0, 1.0, 0.0])):
        picture = shot(square(uvs), Material(base_color=color, orm=color, wrap=wrap))
        torch.testing.assert_close(picture.base_color[10, 16], torch.tensor(above))
        torch.testing.assert_close(picture.base_color[21, 16], torch.tensor([0.0, 1.0, 0.0]))


def test_maps_are_the_materials_and_depth_is_along_the_axis():
    picture = shot(square(), plain(color=(0.2, 0.3, 0.4), orm=(0.9, 0.5, 0.1)))
    covered = picture.mask
    for values, expected in ((picture.base_color, (0.2, 0.3, 0.4)), (picture.orm, (0.9, 0.5, 0.1))):
        torch.testing.assert_close(values[covered], torch.tensor(expected).expand(int(covered.sum()), 3))
        assert (values[~covered] == 0).all()
    torch.testing.assert_close(picture.depth, 4.0 * covered)
    assert torch.equal(picture.alpha, covered.float())


def test_the_back_of_an_open_surface_faces_the_viewer():
    for normal, expected in ((None, (0.0, 0.0, -1.0)), ((0.6, 0.0, 0.8), (-0.6, 0.0, -0.8))):
        picture = shot(square(), plain(normal=normal, double_sided=True), center=(0.0, 0.0, -4.0))
        assert picture.mask.sum() > 200
        seen = picture.normal[picture.mask]
        torch.testing.assert_close(seen, torch.tensor(expected).expand_as(seen))
        color = picture.color[picture.mask]
        assert color.isfinite().all() and color.min() > 0.3


def test_normals_that_face_away_bend_to_the_viewer():
    wo = torch.tensor([[0.0, 0.0, 1.0]]).expand(4, 3)
    normals = normalize(torch.tensor([[0.0, 0, 1], [1, 0, 0.5], [1, 0, -0.2], [0, 0, -1]]), dim=1)
    bent = visible_normals(normals, wo)
    torch.testing.assert_close(bent[:2], normals[:2])
    torch.testing.assert_close(bent[2], torch.tensor([1.0, 0.0, 0.001]), atol=1e-4, rtol=0)
    torch.testing.assert_close(bent[3], torch.tensor([0.0, 0.0, 1.0]))


def test_steep_normal_maps_give_finite_light():
    vertices, faces = sphere(13)
    unit = normalize(vertices.float(), dim=1)
    mesh = Mesh(vertices=unit, faces=faces, uvs=octahedral_from_direction(unit), uv_faces=faces)
    steep = normalize(torch.rand(32, 32, 3) * 2 - 1, dim=-1) * 0.5 + 0.5  # half of them point inwards
    dark = Environment(coefficients=torch.zeros(32 * 32, 3), basis="octahedral")
    for light in (WHITE, dark):
        material = Material(base_color=torch.rand(32, 32, 3), orm=torch.rand(32, 32, 3), normal=steep)
        picture = shot(mesh, material, light=light)
        assert picture.color.isfinite().all() and picture.normal.isfinite().all()


def test_a_normal_map_turns_a_dull_surface_to_the_light():
    """Diffuse light follows the map: brighter towards the bright side, as much as the cosine law says."""
    directions = texel_directions(32)
    light = Environment(coefficients=(1 + directions[:, :1]).expand(-1, 3).contiguous(), basis="octahedral")
    levels = []
    for x in (-0.6, 0.0, 0.6):
        picture = shot(square(), plain(normal=(x, 0.0, 0.8 if x else 1.0), orm=(1.0, 1.0, 0.0)), light=light)
        levels.append(float(picture.color[16, 16, 0]))
    # radiance 1 + d.x gives irradiance / pi of 1 + 2/3 n.x; the specular part, some 4 %, follows less simply
    for level, x in zip(levels, (-0.6, 0.0, 0.6), strict=True):
        assert level / levels[1] == pytest.approx(1 + 2 / 3 * x, abs=0.05)


@pytest.mark.parametrize("samples", [1, 4])
def test_outlines_cover_pixels_in_part(samples):
    """The square's edges lie 0.375 px beyond a pixel's border: 16 / 4 px to each side of 32 px."""
    picture = shot(square(), plain(), focal_px=37.5, samples=samples)
    exact = (2 * 37.5 / 4) ** 2
    assert float(picture.alpha.sum()) == pytest.approx(exact, abs=1e-3 if samples == 4 else 60)
    edge = (picture.alpha > 0) & (picture.alpha < 1)
    assert edge.any() == (samples == 4)
    inside = picture.color[16, 16]
    torch.testing.assert_close(picture.color[edge], inside.expand_as(picture.color[edge]), atol=0.02, rtol=0)
    torch.testing.assert_close(picture.depth[picture.mask], torch.full((int(picture.mask.sum()),), 4.0))
    torch.testing.assert_close(picture.normal[picture.mask].norm(dim=-1), torch.ones(int(picture.mask.sum())))


def test_large_triangles_see_shadows_inside_them():
    """A floor of two triangles below a small lid: dark beneath it, bright in the open, however few its vertices."""
    floor = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    vertices = torch.cat([floor, floor * 0.3 + torch.tensor([0.0, 0.0, 0.1])])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    uvs = torch.tensor(UPRIGHT).repeat(2, 1)
    picture = shot(Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=faces), plain(), center=(4.0, 0.0, 0.8))
    brightness = picture.color[..., 0][picture.mask]
    assert brightness.min() < 0.7 * brightness.median()


def test_an_empty_view_is_empty():
    mesh, material = square(), plain(normal=(0.0, 0.0, 1.0))
    asset = Asset(mesh=mesh, material=material)
    away = camera_at((0.0, 0.0, 4.0), size_px=8, focal_px=10.0, target=(0.0, 0.0, 8.0))
    picture = render(asset, light_mesh(asset, WHITE), away, RASTERIZER, samples=2)
    assert not picture.mask.any() and (picture.color == 0).all() and (picture.normal == 0).all()


@pytest.mark.parametrize(("name", "view"), [("a_boombox", 0), ("a_cabinet", 3)])
def test_normals_equal_those_of_another_renderer(recon_data, name, view):
    """Blender's normals with the normal map; its world is Z up: (x, -z, y) of glTF's."""
    folder = recon_data / name
    read = read_gltf(folder / "mesh.glb")
    gltf_from_zup = torch.eye(4, dtype=torch.float64)
    gltf_from_zup[:3, :3] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    camera = read_transforms(folder / "transforms_test.json")[view].camera.moved(gltf_from_zup)
    scene = light_mesh(read.asset, WHITE, normals=read.normals, tangents=read.tangents)
    picture = render(read.asset, scene, camera, RASTERIZER, samples=2)
    stored = torch.tensor(read_image(folder / "test_gt" / f"r_{view:03d}_normal.png")) / 127.5 - 1
    covered = stored.norm(dim=-1) > 0.9  # black where there is nothing
    truth = normalize(stored.double(), dim=-1) @ gltf_from_zup[:3, :3].mT
    inner = eroded(picture.alpha == 1) & eroded(covered & (stored.norm(dim=-1) < 1.1))
    cosine = (truth.float() * picture.normal).sum(-1)[inner].clamp(-1, 1)
    angle_deg = torch.rad2deg(torch.acos(cosine))
    assert len(angle_deg) > 10_000
    assert angle_deg.mean() < 2 and angle_deg.median() < 0.5, (angle_deg.mean(), angle_deg.median())


def eroded(mask, by_px=2):
    outside = torch.nn.functional.pad((~mask).float()[None, None], [by_px] * 4, value=1.0)
    return torch.nn.functional.max_pool2d(outside, 2 * by_px + 1, stride=1)[0, 0] == 0
