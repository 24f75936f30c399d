"""The mesh's vertices moved to where rendered views look like the photos, with the textures and the light of the fit.

What stereo and outlines left off by a fraction of a pixel blurs the textures, as each photo puts its detail elsewhere.
Once the textures show what is where, the difference of rendered views to the photos says how the surface lies, and
outlines hold it where the photos show only its border. Material and light stay as they are meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.color import perceptual_from_linear
from pipeline.formats.views import read_view_image, read_view_mask
from pipeline.geometry.large_steps import Search, moved_vertices
from pipeline.geometry.normals import vertex_normals
from pipeline.losses import SATURATED
from pipeline.outlines import OutlineFit, outline_of
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.scene import Mesh
from pipeline.shading.visibility import SurfacePoints
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_pixels import MIN_COS, Pixels, PixelSource, image_scale, inner, photographed, pixels_of

VIEW_PX = 80_000  # of a view that the object covers on average: as much as a mesh of some 100 000 triangles can use
FRAME_PX = 400_000  # of a whole picture at most, however little of it the object covers
STAY = 0.008  # as `outlines.STAY`: textures tell more of the surface than outlines do; .005 lets a radio swell


@dataclass(frozen=True, eq=False, kw_only=True)
class _Photo:
    """What one photo shows of the object.

    Attributes:
        number: Of the view.
        color: Linear RGB.
        inner: Where it shows the object alone.
    """

    number: int
    color: Float[Tensor, "height width 3"]
    inner: Bool[Tensor, "height width"]


class VertexFit:
    """A mesh with its present look, and the photos that it is to look like.

    Args:
        fit: Far enough for its textures to show what is where.
        source: The photos with their present poses, and the mesh.
        spared: The photo that the fit does not learn from, or none.
    """

    def __init__(self, fit: AppearanceFit, source: PixelSource, spared: int | None) -> None:
        self._fit, self._source = fit, source
        device = fit.maps.start.device
        self._maps = fit.maps.bake()[None]
        self._own_normals = vertex_normals(source.mesh.vertices, source.mesh.faces)
        capture, outlines = source.capture, []
        self._photos: list[_Photo] = []
        frame = max(view.camera.width * view.camera.height for view in capture.views)
        scale = min(image_scale(capture, VIEW_PX * len(capture.views)), (FRAME_PX / frame) ** 0.5)
        for number, view in enumerate(capture.views):
            if number == spared:
                continue
            camera, mask = read_view_mask(view, long_side_px=round(scale * max(view.camera.width, view.camera.height)))
            outline = outline_of(camera, mask, device)
            color = read_view_image(view, camera.width, camera.height).to(device)
            self._photos.append(_Photo(number=number, color=color, inner=inner(outline.mask > 0.99)))
            outlines.append(outline)
        self._outlines = OutlineFit(source.mesh.vertices, source.mesh.faces, outlines, source.rasterizer)
        self._pixels = sum(float(own.inner.sum()) for own in self._photos) / len(self._photos)

    def run(self, steps: int, seed: int, progress: Callable[[float], None]) -> Mesh:
        """The mesh with its vertices moved and its normals turned along."""
        mesh = self._source.mesh
        vertices = moved_vertices(
            mesh.vertices,
            mesh.faces,
            lambda at, k: self._outlines.difference(at, k) + self._color_difference(at, k),
            len(self._photos),
            Search(steps=steps, stay=STAY, seed=seed),
            progress,
        )
        return replace(mesh, vertices=vertices, normals=self._normals(vertices))

    def _normals(self, vertices: Float[Tensor, "vertices 3"]) -> Float[Tensor, "vertices 3"]:
        """Shading normals, which may be smoother than those of the triangles, turned as these have."""
        turned = vertex_normals(vertices, self._source.mesh.faces) - self._own_normals
        return normalize(self._source.normals + turned, dim=-1)

    def _color_difference(self, vertices: Float[Tensor, "vertices 3"], k: int) -> Float[Tensor, ""]:
        """Absolute difference after a gamma of 1/2.2, as a share of what the object covers in a photo."""
        photo, camera, rasterizer = self._photos[k], self._outlines.outlines[k].camera, self._source.rasterizer
        mesh = replace(self._source.mesh, vertices=vertices)
        buffer = render_gbuffer(rasterizer, mesh, self._normals(vertices), camera)
        usable = inner(buffer.mask[0]) & photo.inner & (photo.color < SATURATED).all(-1)
        found = pixels_of(buffer, usable, mesh, camera, photo.color)
        pixels = photographed(_on(found, self._source.normals), self._source.capture, photo.number)
        values = rasterizer.texture(self._maps, found.uv[None, None])[0, 0]
        shown = self._fit.shown(pixels, values, found.normal)
        difference = (perceptual_from_linear(shown) - perceptual_from_linear(found.target)).abs().mean(-1)
        facing = (found.normal * found.wo).sum(-1).detach() > MIN_COS
        return (difference * facing).sum() / self._pixels


def _on(pixels: Pixels, normals: Float[Tensor, "vertices 3"]) -> Pixels:
    """The pixels with the normals that shadows were traced with; where on the mesh they lie is constant."""
    if pixels.surface is None:
        raise ValueError("pixels without a surface")
    surface = SurfacePoints(corners=pixels.surface.corners, weights=pixels.surface.weights.detach())
    return replace(pixels, surface=surface, normal=normalize(surface.blend(normals), dim=-1))
