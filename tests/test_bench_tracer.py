"""The path tracer's set-up: energy, orientation of light and camera, normal maps, each against a closed form."""

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.bench.coat import body_of_coat, fresnel
from pipeline.bench.tracer import Placed, Tracer
from pipeline.color import srgb_from_linear
from pipeline.metrics import psnr
from pipeline.scene import Material, Mesh
from pipeline.shading.disney import DIELECTRIC_F0, directional_albedo
from pipeline.shading.light_maps import equirect_directions, map_radiance
from tests.shapes import camera_at, pixel_rays, sphere, sphere_hits

pytest.importorskip("mitsuba", reason="needs mitsuba: pip install recon-pbr[bench]")

CAMERA = camera_at((1.5, 1.0, 2.5), size_px=48, focal_px=60.0)


def painted(base_color, roughness, metallic):
    """One texel."""
    orm = torch.tensor([[[1.0, roughness, metallic]]])
    return Material(base_color=torch.tensor([[base_color]]), orm=orm)


def ball(material):
    vertices, faces = sphere(41)
    vertices = normalize(vertices.float(), dim=1)
    mesh = Mesh(vertices=vertices, faces=faces, uvs=torch.full((len(vertices), 2), 0.5), uv_faces=faces)
    return Placed(mesh=mesh, normals=vertices, tangents=None, material=material)


def under(light, placed, camera=CAMERA, *, turn=None, samples=64):
    tracer = Tracer(placed)
    tracer.light_by(light, torch.eye(3) if turn is None else turn)
    return tracer.render(camera, samples=samples, seed=0)


def ball_normals():
    """Unit normals and directions to the camera in the pixels that the ball covers, and which these are."""
    hits, distance = (x[..., 0] for x in sphere_hits(CAMERA))
    rays = pixel_rays(CAMERA)[:, :, 0]
    return hits, normalize(CAMERA.camera_center + distance[..., None] * rays, dim=-1), -rays


# In even light, a ball sends back what its specular albedo says, and its body what the coat lets through. The bounds
# are the noise of some 150 pixels, Schlick's curve against Fresnel's, and separable against height-correlated
# shadowing: that takes 9 % from the roughest metals at a slant.
@pytest.mark.parametrize("roughness", [0.1, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("metallic", [0.0, 0.5, 1.0])
def test_even_light_is_sent_back_as_gltf_says(roughness, metallic):
    base = 0.7
    shown = under(torch.ones(8, 16, 3), ball(painted([base] * 3, roughness, metallic)), samples=200)
    hits, normal, wo = ball_normals()
    cosine = torch.where(hits, (normal * wo).sum(-1), 0).float()
    for low, high in ((0.9, 1.0), (0.7, 0.8), (0.4, 0.6)):
        ring = (cosine > low) & (cosine <= high) & (shown[..., 3] > 0.999)
        scale, bias = directional_albedo(cosine[ring], torch.full_like(cosine[ring], roughness))
        coat = DIELECTRIC_F0 * scale + bias
        expected = (1 - metallic) * (coat + base * (1 - coat)) + metallic * (base * scale + bias)
        bound = 0.10 if roughness * metallic > 0.8 else 0.035
        assert float(shown[ring][:, :3].mean()) == pytest.approx(float(expected.mean()), rel=bound)


def test_a_white_body_loses_no_energy_and_makes_none():
    shown = under(torch.ones(8, 16, 3), ball(painted([1.0] * 3, 0.5, 0.0)), samples=200)
    assert float(shown[shown[..., 3] > 0.999][:, :3].mean()) == pytest.approx(1, abs=0.02)


def lamps():
    """Three wide lamps of different colours: no turn or mirror image of it looks the same."""
    toward = normalize(torch.tensor([[1.0, 0.4, 0.3], [-0.5, 0.8, 0.6], [0.2, -0.7, 0.9]]), dim=-1)
    colors = torch.tensor([[0.7, 0.1, 0.1], [0.1, 0.6, 0.1], [0.1, 0.1, 0.7]])
    return 0.1 + torch.exp((equirect_directions(64) @ toward.mT - 1) / 0.1) @ colors


@pytest.mark.parametrize("turned", [False, True])
def test_a_mirror_shows_the_light_where_it_is(turned):
    """Camera and light map face the right way: a mirror ball shows the map in the reflected directions."""
    axis = torch.tensor([[0, -0.5, 0.7], [0.5, 0, -0.9], [-0.7, 0.9, 0]])
    turn = torch.linalg.matrix_exp(axis) if turned else torch.eye(3)
    light = lamps()
    shown = under(light, ball(painted([1.0] * 3, 0.0, 1.0)), turn=turn)
    hits, normal, wo = ball_normals()
    whole = hits & (shown[..., 3] > 0.999) & ((normal * wo).sum(-1) > 0.3)
    mirrored = (2 * (normal * wo).sum(-1, keepdim=True) * normal - wo)[whole].float()
    expected = srgb_from_linear(map_radiance(light, mirrored @ turn))
    assert psnr(srgb_from_linear(shown[whole][:, :3]), expected) > 40
    across = whole & whole.flip(1)
    right = psnr(srgb_from_linear(shown[across][:, :3]), srgb_from_linear(shown.flip(1)[across][:, :3]))
    assert right < 25  # so the picture is not its own mirror image


def test_the_picture_covers_what_the_camera_sees():
    """Alpha against ray casting, with a principal point off the middle and an asset that leaves the frame."""
    K = CAMERA.K.clone()
    K[0, 2], K[1, 2] = 40.0, 15.0
    camera = type(CAMERA)(K=K, cam_from_world=CAMERA.cam_from_world, width=48, height=40)
    shown = under(torch.ones(8, 16, 3), ball(painted([0.5] * 3, 0.5, 0.0)), camera, samples=16)
    expected = sphere_hits(camera, samples=4)[0].float().mean(-1)
    assert shown.shape == (40, 48, 4)
    assert float((shown[..., 3] - expected).abs().mean()) < 0.02
    assert 0.05 < float(expected[:, -1].mean()) < 1  # it does leave the frame


def quad(normal_map=None, *, mirrored=False, normal=(0.0, 0.0, 1.0)):
    """A square that faces +Z; in the mirrored one, u runs to the left."""
    vertices = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uvs = torch.stack([(vertices[:, 0] + 1) / 2, (1 - vertices[:, 1]) / 2], 1)
    if mirrored:
        uvs[:, 0] = 1 - uvs[:, 0]
    material = Material(
        base_color=torch.full((1, 1, 3), 0.6),
        orm=torch.tensor([[[1.0, 0.8, 0.0]]]),
        normal=None if normal_map is None else torch.tensor([[normal_map]]) * 0.5 + 0.5,
    )
    normals = torch.tensor([normal]).expand(4, 3)
    return Placed(
        mesh=Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=faces),
        normals=normals,
        tangents=None,
        material=material,
    )


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_normal_map_bends_like_vertex_normals(mirrored):
    """Red follows u, green goes up (-v), on mirrored charts as well."""
    bent = (0.36, 0.48, 0.8)
    stored = (-0.36, 0.48, 0.8) if mirrored else bent
    camera = camera_at((0.0, 0.0, 4.0), size_px=24, focal_px=40.0)
    light = lamps() * (equirect_directions(64)[..., 2:] > 0)  # bent normals see light behind the plane, maps do not
    mapped = under(light, quad(list(stored), mirrored=mirrored), camera, samples=256)[8:16, 8:16, :3].mean((0, 1))
    modelled = under(light, quad(normal=bent), camera, samples=256)[8:16, 8:16, :3].mean((0, 1))
    flat = under(light, quad(), camera, samples=256)[8:16, 8:16, :3].mean((0, 1))
    assert mapped.tolist() == pytest.approx(modelled.tolist(), rel=0.02)
    assert float((flat / modelled - 1).abs().max()) > 0.1


def test_what_a_rough_coat_lets_through_is_met_within_three_percent():
    """For views that make up 91 % of a ball; the fit gives way at grazing angles."""
    cosine = torch.linspace(0.3, 1, 30)
    for roughness in torch.linspace(0, 1, 21).tolist():
        share, through = body_of_coat(torch.full((1, 1, 1), roughness))
        scale, bias = directional_albedo(cosine, torch.full_like(cosine, roughness))
        fitted = through * (share * (1 - fresnel(cosine)) + 1 - share)
        assert float((fitted[0, 0] / (1 - DIELECTRIC_F0 * scale - bias) - 1).abs().max()) < 0.03


def test_fresnel_has_the_known_values():
    assert float(fresnel(torch.tensor(1.0))) == pytest.approx(0.04, abs=1e-6)
    assert float(fresnel(torch.tensor(0.0))) == pytest.approx(1, abs=1e-6)
    brewster = torch.atan(torch.tensor(1.5))  # the parallel part vanishes
    assert float(fresnel(brewster.cos())) == pytest.approx(0.5 * ((1.5**2 - 1) / (1.5**2 + 1)) ** 2, abs=1e-5)


def test_pictures_of_two_seeds_have_noise_of_their_own():
    tracer = Tracer(ball(painted([0.5] * 3, 0.5, 0.0)))
    tracer.light_by(lamps(), torch.eye(3))
    first, again, second = (tracer.render(CAMERA, samples=4, seed=seed) for seed in (0, 0, 1))
    assert torch.allclose(first, again, atol=1e-5)  # blocks are added up in any order
    inside = first[..., 3] > 0.999
    mean = (first + second)[inside] / 2
    noise = torch.stack([(p[inside] - mean).flatten() for p in (first, second)])
    assert float(noise.abs().mean()) > 1e-3
