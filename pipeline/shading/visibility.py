"""What each point of a mesh sees of the surrounding light, and what hides the rest.

Rays from every vertex of the finished mesh, traced once, give shadowed diffuse light, specular occlusion,
one bounce and ambient occlusion from one table (precomputed radiance transfer, Sloan et al. 2002, on vertices
and a 16 x 16 octahedral set of directions).
"""

from dataclasses import dataclass

import numpy as np
import torch
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.scene import Environment, Mesh
from pipeline.shading.disney import reflected_lobe
from pipeline.shading.gather import gathered, transfer, transfer_at, weighted_rows
from pipeline.shading.octahedral import bilinear_corners, texel_directions, texel_solid_angles
from pipeline.shading.prefilter import radiance
from pipeline.shading.turn import Turn

SIZE = 16
LOBES = (0.15, 0.5, 1.0)  # roughness of the stored specular visibility
OFFSET = 2e-3  # rays start this share of the bounding box's diagonal above the surface
CHUNK = 8192


@dataclass(frozen=True, eq=False, kw_only=True)
class SurfacePoints:
    """Points on a mesh as blends of the corners of their triangles.

    Attributes:
        corners: Vertex indices.
        weights: Their barycentric weights.
    """

    corners: Int[Tensor, "points 3"]
    weights: Float[Tensor, "points 3"]

    def blend(self, values: Float[Tensor, "vertices channels"]) -> Float[Tensor, "points channels"]:
        """Interpolate vertex values; differentiable with respect to them."""
        return weighted_rows(values, self.corners, self.weights)


def surface_points(
    mesh: Mesh, face_id: Int[Tensor, "points"], barycentrics: Float[Tensor, "points 2"]
) -> SurfacePoints:
    """Points given by triangle and the weights of its vertices 0 and 1, as a G-buffer holds them."""
    weights = torch.cat([barycentrics, 1 - barycentrics.sum(-1, keepdim=True)], -1)
    return SurfacePoints(corners=mesh.faces[face_id], weights=weights)


@dataclass(frozen=True, eq=False, kw_only=True)
class Visibility:
    """The transfer table of a mesh; directions are the texels of a `SIZE`^2 octahedral map.

    Attributes:
        diffuse: Irradiance / pi of each vertex per unit radiance of each direction: shadowed cosine lobe.
        specular: Visible share of the GGX lobe around each direction, per roughness of `LOBES`.
        indirect: As `diffuse`, of the directions that the mesh itself hides.
        blocker: Vertex of the surface that hides each direction; 0 where `indirect` is 0.
        ambient: Cosine-weighted visible share of the hemisphere: ambient occlusion, 1 = open.
    """

    diffuse: Float[Tensor, "vertices directions"]
    specular: Float[Tensor, "vertices lobes directions"]
    indirect: Float[Tensor, "vertices directions"]
    blocker: Int[Tensor, "vertices directions"]
    ambient: Float[Tensor, "vertices"]

    def diffuse_light(self, environment: Environment) -> Float[Tensor, "vertices 3"]:
        """Shadowed irradiance / pi at the vertices; differentiable with respect to the light."""
        return transfer(self.diffuse, coarse_light(environment))

    def turned_diffuse_light(
        self, environment: Environment, points: SurfacePoints, turn: Turn
    ) -> Float[Tensor, "points 3"]:
        """Shadowed irradiance / pi at points that turned under the light; differentiable with respect to the light."""
        lights = coarse_lights(environment, turn.light_from_world)
        return transfer_at(self.diffuse, (points.corners, points.weights), lights, turn.of_point)

    def specular_share(
        self, points: SurfacePoints, direction: Float[Tensor, "points 3"], roughness: Float[Tensor, "points"]
    ) -> Float[Tensor, "points"]:
        """Visible share of the lobe around mirrored directions; constant for gradients."""
        with torch.no_grad():
            texel, weight = bilinear_corners(direction, SIZE)
            knots = torch.tensor(LOBES, device=direction.device)
            rough = roughness.clamp(LOBES[0], LOBES[-1])
            below = (torch.searchsorted(knots, rough, right=True) - 1).clamp(0, len(LOBES) - 2)
            blend = (rough - knots[below]) / (knots[below + 1] - knots[below])
            lobes = torch.stack([below, below + 1], 1)
            shares = torch.stack([1 - blend, blend], 1)
            row = points.corners[:, :, None] * len(LOBES) + lobes[:, None, :]  # (points, 3, 2)
            index = row[..., None] * SIZE * SIZE + texel[:, None, None, :]  # (points, 3, 2, 4)
            weights = points.weights[:, :, None, None] * shares[:, None, :, None] * weight[:, None, None, :]
            return weighted_rows(self.specular.reshape(-1, 1), index.flatten(1), weights.flatten(1))[:, 0]

    def gather(
        self, leaving: Float[Tensor, "vertices 3"]
    ) -> tuple[Float[Tensor, "vertices 3"], Float[Tensor, "vertices 3"]]:
        """Light from other parts of the surface.

        Args:
            leaving: Radiance that leaves each vertex, alike to all sides.

        Returns:
            Irradiance / pi that the blockers add at each vertex, and the mean radiance of its blockers.
        """
        return gathered(self.indirect, self.blocker, leaving)


def trace_visibility(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"], normals: Float[Tensor, "vertices 3"]
) -> Visibility:
    """Trace rays from every vertex into all directions above its tangent plane.

    Args:
        vertices: Positions, world units.
        faces: Triangles; they block from both sides.
        normals: Unit vertex normals, outwards.
    """
    scene = EmbreeScene()
    TriangleMesh(scene, vertices.numpy().astype(np.float32), faces.numpy().astype(np.int32))
    directions, solid_angle = texel_directions(SIZE), texel_solid_angles(SIZE)
    lobes = [_lobe_weights(roughness) for roughness in LOBES]
    offset = OFFSET * float(torch.linalg.norm(vertices.amax(0) - vertices.amin(0)))
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(vertices), CHUNK):
        normal = normals[start : start + CHUNK]
        cosine = (normal @ directions.mT).clamp_min(0)
        above = cosine > 0
        origin = (vertices[start : start + CHUNK] + offset * normal)[:, None].expand(-1, len(directions), -1)
        hit = torch.full(above.shape, -1, dtype=torch.int32)
        rays = directions.expand(len(normal), -1, -1)[above]
        hit[above] = torch.from_numpy(scene.run(origin[above].contiguous().numpy(), rays.contiguous().numpy()))
        open_ = (above & (hit < 0)).float()
        weights = cosine * solid_angle / torch.pi
        total = weights.sum(1, keepdim=True).clamp_min(1e-6)
        specular = [(open_ @ w.mT) / (above.float() @ w.mT).clamp_min(1e-6) for w in lobes]
        blocker = torch.where(hit >= 0, faces[hit.clamp_min(0).long(), 0].int(), 0)
        shadowed = weights * open_
        indirect = weights * (hit >= 0)
        parts.append((shadowed, torch.stack(specular, 1), indirect, blocker, (shadowed.sum(1) / total[:, 0])))
    diffuse, specular_all, indirect_all, blocker_all, ambient = (torch.cat(x) for x in zip(*parts, strict=True))
    return Visibility(
        diffuse=diffuse, specular=specular_all, indirect=indirect_all, blocker=blocker_all, ambient=ambient
    )


def _lobe_weights(roughness: float) -> Float[Tensor, "directions directions"]:
    """GGX weights of all directions (columns) around each direction (rows)."""
    directions = texel_directions(SIZE)
    return reflected_lobe(directions @ directions.mT, roughness) * texel_solid_angles(SIZE)


def coarse_light(environment: Environment) -> Float[Tensor, "directions 3"]:
    """Mean radiance of a light over each of the `SIZE`^2 directions' texels."""
    if environment.basis == "sh":
        return radiance(environment, texel_directions(SIZE).to(environment.coefficients.device))
    side = round(len(environment.coefficients) ** 0.5)
    block = side // SIZE
    return environment.coefficients.reshape(SIZE, block, SIZE, block, 3).mean((1, 3)).reshape(-1, 3)


def coarse_lights(
    environment: Environment, light_from_world: Float[Tensor, "turns 3 3"]
) -> Float[Tensor, "turns directions 3"]:
    """`coarse_light` as seen from a world that turned under the light, for each of its turns.

    An octahedral light is read between texels of a map twice as fine as the directions.
    """
    turns, fine = light_from_world.to(environment.coefficients), 1 if environment.basis == "sh" else 2
    if environment.basis == "octahedral":
        side, size = round(len(environment.coefficients) ** 0.5), SIZE * fine
        texels = environment.coefficients.reshape(size, side // size, size, side // size, 3).mean((1, 3))
        environment = Environment(coefficients=texels.reshape(-1, 3), basis="octahedral")
    directions = texel_directions(SIZE * fine).to(turns) @ turns.mT
    read = radiance(environment, directions.reshape(-1, 3))
    return read.reshape(len(turns), SIZE, fine, SIZE, fine, 3).mean((2, 4)).reshape(len(turns), -1, 3)
