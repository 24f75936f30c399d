"""Triangle meshes."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Mesh:
    """A triangle mesh; texture seams do not split its vertices.

    Attributes:
        vertices: Positions in world units.
        faces: Vertex indices, counter-clockwise seen from outside.
        uvs: Texture coordinates, (0, 0) top left, v down; or none before unwrapping.
        uv_faces: Indices into `uvs` for each corner of each face.
        normals: Unit shading normals at the vertices; none takes those of the triangles around.
    """

    vertices: Float[Tensor, "vertices 3"]
    faces: Int[Tensor, "faces 3"]
    uvs: Float[Tensor, "uvs 2"] | None = None
    uv_faces: Int[Tensor, "faces 3"] | None = None
    normals: Float[Tensor, "vertices 3"] | None = None
