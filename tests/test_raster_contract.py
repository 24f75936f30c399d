"""Every backend draws what the `cpu` backend draws, and has its gradients.

The adapter for nvdiffrast runs twice: on a stand-in with nvdiffrast's signatures, where it must agree to rounding, and
on a GPU with nvdiffrast itself. There the vertices are snapped to a sub-pixel grid, so a pixel whose centre lies next
to an edge may see the other triangle: such pixels are counted, and at most ALLOWED of the covered ones may differ.
"""

from dataclasses import dataclass

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.errors import InputError, ResourceError
from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.raster.nvdiffrast_backend import NvdiffrastRasterizer, load_nvdiffrast
from pipeline.raster.rasterizer import Rasterizer, Sampling
from pipeline.raster.soft import Softness, soft_render
from pipeline.scene import Mesh
from tests import nvdiffrast_stand_in
from tests.shapes import bumpy_sphere, camera_at, clip_of

CPU = CpuRasterizer()
ALLOWED = 0.005
SIZE = (44, 36)


@dataclass(frozen=True)
class Backend:
    rasterizer: Rasterizer
    device: torch.device
    allowed: float

    def here(self, *tensors):
        return [t.detach().to(self.device).requires_grad_(t.requires_grad) for t in tensors]

    def agree(self, got, want, pixels, *, rtol=1e-4, atol=2e-5):
        """Whether all but the allowed share of `pixels` many entries of the leading axes agree."""
        got = got.detach().cpu()
        assert got.shape == want.shape
        off = (got - want).abs() > atol + rtol * want.abs()
        off = off.flatten(min(3, off.ndim - 1)).any(-1)
        assert int(off.sum()) <= self.allowed * pixels, f"{int(off.sum())} of {pixels} differ"

    def agree_in_sum(self, got, want):
        """Whether gradients agree as vectors: to rounding, or but for what the pixels that may differ add."""
        got = got.detach().cpu()
        assert got.shape == want.shape and want.abs().sum() > 0
        assert float((got - want).norm() / want.norm()) <= max(20 * self.allowed, 1e-5)


@pytest.fixture(scope="module", params=["cpu", "stand-in", pytest.param("nvdiffrast", marks=pytest.mark.gpu)])
def backend(request):
    cpu = torch.device("cpu")
    if request.param == "cpu":
        return Backend(CPU, cpu, 0)
    if request.param == "stand-in":
        return Backend(NvdiffrastRasterizer(nvdiffrast_stand_in, cpu), cpu, 0)
    cuda = torch.device("cuda")
    try:
        return Backend(NvdiffrastRasterizer(load_nvdiffrast(), cuda), cuda, ALLOWED)
    except ResourceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def scene():
    """Two views of a bumpy ball: clip positions, faces, and three attributes per vertex."""
    points, faces = bumpy_sphere(12, 20)
    motions = torch.tensor([[0.0, 0, 0, 0], [0.31, -0.12, 0.5, 0.2]], dtype=torch.float64)
    clip = torch.cat([clip_of(points, motion) for motion in motions]).float()
    attributes = torch.cat([points, points.prod(-1, keepdim=True)], 1)[:, 1:].float()
    return clip.requires_grad_(), faces, attributes.requires_grad_()


def both(backend, draw, *leaves):
    """What `draw(rasterizer, *leaves)` gives here and on the cpu backend, and the gradients of a weighted sum."""
    results = []
    for side in (backend, Backend(CPU, torch.device("cpu"), 0)):
        inputs = side.here(*leaves)
        out = draw(side.rasterizer, *inputs)
        weights = torch.sin(torch.arange(out.numel(), dtype=torch.float32) * 0.37).reshape(out.shape) + 0.2
        needed = [leaf for leaf in inputs if leaf.requires_grad]
        results.append((out, torch.autograd.grad((out * weights.to(out.device)).sum(), needed)))
    return results


def compare(backend, draw, *leaves, pixels):
    (got, got_gradients), (want, want_gradients) = both(backend, draw, *leaves)
    backend.agree(got, want.detach(), pixels)
    for mine, theirs in zip(got_gradients, want_gradients, strict=True):
        backend.agree_in_sum(mine, theirs)


def covered(scene):
    return int(CPU.rasterize(scene[0], scene[1], size_px=SIZE).mask.sum())


def test_what_each_pixel_sees(backend, scene):
    clip, faces, _ = scene
    want = CPU.rasterize(clip, faces, size_px=SIZE, derivatives=True)
    got = backend.rasterizer.rasterize(*backend.here(clip, faces), size_px=SIZE, derivatives=True)
    pixels = int(want.mask.sum())
    assert pixels > 400
    assert int((got.face_id.cpu() != want.face_id).sum()) <= backend.allowed * pixels
    backend.agree(got.rast, want.rast.detach(), pixels)
    backend.agree(got.derivatives, want.derivatives, pixels, rtol=1e-3)
    assert not got.derivatives.requires_grad
    assert backend.rasterizer.rasterize(*backend.here(clip, faces), size_px=SIZE).derivatives is None
    compare(backend, lambda r, c: r.rasterize(c, faces.to(c.device), size_px=SIZE).rast[..., :2], clip, pixels=pixels)


def test_row_0_is_the_bottom_of_clip_space(backend):
    """A triangle at the lower left of NDC lies in the first rows and columns."""
    clip = torch.tensor([[[-1.0, -1, 0, 1], [0, -1, 0, 1], [-1, 0, 0, 1]]])
    raster = backend.rasterizer.rasterize(*backend.here(clip, torch.tensor([[0, 1, 2]])), size_px=(8, 4))
    assert raster.mask.shape == (1, 4, 8)
    assert raster.mask[0, 0, 0] and not raster.mask[0, -1].any() and not raster.mask[0, :, 4:].any()


def test_interpolation(backend, scene):
    clip, faces, attributes = scene

    def draw(rasterizer, clip, attributes):
        raster = rasterizer.rasterize(clip, faces.to(clip.device), size_px=SIZE)
        return rasterizer.interpolate(attributes, raster, faces.to(clip.device))

    compare(backend, draw, clip, attributes, pixels=covered(scene))


def test_interpolation_of_derivatives(backend, scene):
    clip, faces, attributes = scene

    def draw(rasterizer, attributes):
        there = faces.to(attributes.device)
        raster = rasterizer.rasterize(clip.detach().to(attributes.device), there, size_px=SIZE, derivatives=True)
        return rasterizer.interpolate_derivatives(attributes, raster, there).flatten(-2)

    compare(backend, draw, attributes, pixels=covered(scene))
    raster = backend.rasterizer.rasterize(*backend.here(clip, faces), size_px=SIZE)
    with pytest.raises(InputError, match="derivatives=True"):
        backend.rasterizer.interpolate_derivatives(*backend.here(attributes)[:1], raster, *backend.here(faces))


def coordinates(channels):
    """Places within and beyond the texture, away from the texels' borders, and their change per pixel."""
    generator = torch.Generator().manual_seed(5)
    where = torch.rand(2, 9, 11, channels, generator=generator) * 1.6 - 0.3
    change = (torch.rand(2, 9, 11, channels, 2, generator=generator) - 0.5) * 0.3
    return where.requires_grad_(), change.requires_grad_()


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("filtering", ["nearest", "linear", "mip"])
@pytest.mark.parametrize("count", [1, 2])
def test_textures(backend, filtering, wrap, count):
    maps = torch.rand(count, 8, 16, 3).requires_grad_()
    uv, change = coordinates(2)
    sampling = Sampling(filtering=filtering, wrap=wrap)
    inputs = {"nearest": (maps,), "linear": (maps, uv), "mip": (maps, uv, change)}[filtering]

    def draw(rasterizer, maps, where=None, change=None):
        where = uv.detach().to(maps.device) if where is None else where
        return rasterizer.texture(maps, where, derivatives=change, sampling=sampling)

    compare(backend, draw, *inputs, pixels=198)


@pytest.mark.parametrize("filtering", ["linear", "mip"])
def test_cube_maps(backend, filtering):
    maps = torch.rand(1, 6, 8, 8, 2).requires_grad_()
    generator = torch.Generator().manual_seed(6)
    directions = (normalize(torch.randn(2, 9, 11, 3, generator=generator), dim=-1) * 2).requires_grad_()
    inputs = (maps, directions, coordinates(3)[1])[: 3 if filtering == "mip" else 2]

    def draw(rasterizer, maps, where, change=None):
        return rasterizer.texture_cube(maps, where, derivatives=change, sampling=Sampling(filtering=filtering))

    compare(backend, draw, *inputs, pixels=198)


def test_mip_levels_end_where_a_side_is_odd(backend):
    maps, (uv, change) = torch.rand(1, 12, 2, 1).requires_grad_(), coordinates(2)

    def draw(rasterizer, maps, level=None):
        sampling = Sampling(filtering="mip", max_level=level)
        where, slopes = uv.detach().to(maps.device), change.detach().to(maps.device)
        return rasterizer.texture(maps, where, derivatives=slopes, sampling=sampling)

    compare(backend, draw, maps, pixels=198)
    with pytest.raises(InputError, match="12 texels has no mip level 3 .*max_level=2"):
        draw(backend.rasterizer, *backend.here(maps), level=3)
    with pytest.raises(InputError, match="need screen derivatives"):
        backend.rasterizer.texture(*backend.here(maps, uv), sampling=Sampling(filtering="mip"))


def test_off_the_mask_coordinates_may_be_anything(backend):
    maps, (uv, _) = torch.rand(1, 4, 4, 2).requires_grad_(), coordinates(2)
    mask = torch.rand(2, 9, 11) < 0.6
    senseless = uv.detach().masked_fill(~mask[..., None], float("nan"))

    def draw(rasterizer, maps):
        return rasterizer.texture(maps, senseless.to(maps.device), mask=mask.to(maps.device))

    compare(backend, draw, maps, pixels=198)
    out = backend.rasterizer.texture(*backend.here(maps, senseless), mask=mask.to(backend.device))
    assert (out[~mask.to(backend.device)] == 0).all()


def test_surfaces_behind_each_other(backend, scene):
    clip, faces, attributes = scene
    want = CPU.peel(clip, faces, size_px=SIZE, layers=9, derivatives=True)
    got = backend.rasterizer.peel(*backend.here(clip, faces), size_px=SIZE, layers=9, derivatives=True)
    if backend.allowed == 0:
        assert len(got) == len(want) < 9
    for mine, theirs in zip(got, want, strict=False):
        pixels = max(int(theirs.mask.sum()), 200)
        assert int((mine.face_id.cpu() != theirs.face_id).sum()) <= backend.allowed * pixels
        backend.agree(mine.rast, theirs.rast.detach(), pixels)
    alone = backend.rasterizer.rasterize(*backend.here(clip, faces), size_px=SIZE)
    assert torch.equal(got[0].rast, alone.rast)

    def draw(rasterizer, clip, attributes):
        there = faces.to(clip.device)
        return rasterizer.interpolate(attributes, rasterizer.peel(clip, there, size_px=SIZE, layers=2)[1], there)

    compare(backend, draw, clip, attributes, pixels=covered(scene))


@pytest.mark.parametrize("known", [True, False])
def test_antialiasing(backend, scene, known):
    clip, faces, _ = scene
    color = torch.rand(2, SIZE[1], SIZE[0], 3).requires_grad_()

    def draw(rasterizer, clip, color):
        there = faces.to(clip.device)
        raster = rasterizer.rasterize(clip, there, size_px=SIZE)
        topology = rasterizer.topology(there) if known else None
        shaded = color * raster.mask[..., None]
        return rasterizer.antialias(shaded, raster, clip, there, topology=topology, search=0)

    compare(backend, draw, clip, color, pixels=covered(scene))


def test_soft_mode(backend, scene):
    clip, faces, attributes = scene
    leaves = clip[:1].detach().requires_grad_(), attributes
    results = []
    for soft, inputs in (
        (backend.rasterizer.soft, backend.here(*leaves)),
        (soft_render, [x.detach().double().requires_grad_() for x in leaves]),
    ):
        softness = Softness(sigma_px=0.8, gamma=1e-2)
        color, alpha = soft(inputs[1], inputs[0], faces.to(inputs[0].device), size_px=(16, 12), softness=softness)
        image = torch.cat([color, alpha[..., None]], -1)
        weights = torch.linspace(-1, 1, image.numel()).reshape(image.shape).to(image.device)
        results.append((image, torch.autograd.grad((image * weights).sum(), inputs)))
    (image, gradients), (wanted, wanted_gradients) = results
    # Float32 knows depth / gamma to 1e-5 only.
    torch.testing.assert_close(image.detach().cpu(), wanted.detach().float(), rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(gradients, wanted_gradients, strict=True):
        assert float((mine.cpu() - theirs).norm() / theirs.norm()) < 1e-3


def test_other_types_and_strides_are_taken(backend, scene):
    clip, faces, attributes = scene
    here = backend.here(clip.detach().double(), faces.int(), attributes.detach().double())
    clip64, faces32, attributes64 = here
    strided = clip64.mT.contiguous().mT, faces32.mT.contiguous().mT, attributes64.mT.contiguous().mT
    raster = backend.rasterizer.rasterize(*strided[:2], size_px=SIZE, derivatives=True)
    out = backend.rasterizer.interpolate(strided[2], raster, strided[1])
    want = CPU.interpolate(attributes, CPU.rasterize(clip, faces, size_px=SIZE), faces)
    backend.agree(out.float(), want.detach(), covered(scene))
    smooth = backend.rasterizer.antialias(out, raster, *strided[:2], search=0)
    assert smooth.shape == out.shape
    uv = out[..., :2].contiguous().flip(1)  # not contiguous
    assert backend.rasterizer.texture(torch.rand(1, 3, 4, 4).to(uv).permute(0, 2, 3, 1), uv).shape == out.shape


def test_the_gbuffer(backend):
    """What the stages read: world positions and normals by the vertices, texture coordinates by their own faces."""
    vertices, faces = bumpy_sphere(12, 20)
    uvs = torch.rand(3 * len(faces), 2)
    uv_faces = torch.arange(3 * len(faces)).reshape(-1, 3)
    mesh = Mesh(vertices=vertices.float(), faces=faces, uvs=uvs, uv_faces=uv_faces)
    camera, normals = camera_at((1.0, 0.5, 3.0), size_px=40, focal_px=40.0), normalize(mesh.vertices, dim=-1)
    got = render_gbuffer(backend.rasterizer, mesh, normals, camera)
    want = render_gbuffer(CPU, mesh, normals, camera)
    pixels = int(want.mask.sum())
    for name in ("position", "normal", "uv", "barycentrics"):
        backend.agree(getattr(got, name), getattr(want, name), pixels)
    backend.agree(got.depth[..., None], want.depth[..., None], pixels)


@pytest.mark.gpu
def test_tensors_may_live_on_the_cpu(scene):
    clip, faces, attributes = scene
    try:
        rasterizer = NvdiffrastRasterizer(load_nvdiffrast(), torch.device("cuda"))
    except ResourceError as error:
        pytest.skip(str(error))
    raster = rasterizer.rasterize(clip, faces, size_px=SIZE)
    out = rasterizer.antialias(rasterizer.interpolate(attributes, raster, faces), raster, clip, faces)
    assert raster.rast.device.type == out.device.type == "cpu"
    assert torch.autograd.grad(out.sum(), clip)[0].abs().sum() > 0


class TestTheStandInIsStrict:
    """What the adapter must not pass to nvdiffrast, the stand-in does not take either."""

    CONTEXT = nvdiffrast_stand_in.RasterizeCudaContext()
    POS = torch.rand(1, 3, 4)
    TRI = torch.tensor([[0, 1, 2]], dtype=torch.int32)

    @pytest.mark.parametrize(
        ("pos", "tri", "resolution"),
        [
            (POS.double(), TRI, (4, 4)),
            (POS, TRI.long(), (4, 4)),
            (POS[0], TRI, (4, 4)),
            (POS.mT.contiguous().mT, TRI, (4, 4)),
            (POS, TRI[:0], (4, 4)),
            (POS, TRI, 4),
        ],
    )
    def test_drawing(self, pos, tri, resolution):
        with pytest.raises((TypeError, ValueError)):
            nvdiffrast_stand_in.rasterize(self.CONTEXT, pos, tri, resolution, grad_db=False)

    def test_textures(self):
        uv = torch.rand(2, 4, 4, 2)
        with pytest.raises(RuntimeError, match="odd"):
            nvdiffrast_stand_in.texture(torch.rand(1, 6, 4, 1), uv, torch.rand(2, 4, 4, 4))
        with pytest.raises(ValueError, match="minibatch"):
            nvdiffrast_stand_in.texture(torch.rand(3, 4, 4, 1), uv)
        with pytest.raises(ValueError, match="uv_da"):
            nvdiffrast_stand_in.texture(torch.rand(1, 4, 4, 1), uv, torch.rand(2, 4, 4, 2, 2))

    def test_peeling_takes_the_context(self):
        with nvdiffrast_stand_in.DepthPeeler(self.CONTEXT, self.POS, self.TRI, (4, 4), grad_db=False):
            with pytest.raises(RuntimeError, match="depth peeling"):
                nvdiffrast_stand_in.rasterize(self.CONTEXT, self.POS, self.TRI, (4, 4), grad_db=False)
