"""PLY meshes and named EXR channels, as captures with truth hold them."""

import pytest
import torch

from pipeline.errors import InputError
from pipeline.formats.exr import read_exr_channels, write_exr
from pipeline.formats.ply import read_ply
from tests.truth_capture import write_ply


def test_a_mesh_comes_back(tmp_path):
    vertices, faces = torch.rand(5, 3), torch.tensor([[0, 1, 2], [2, 3, 4]])
    write_ply(tmp_path / "mesh.ply", vertices, faces)
    found, triangles = read_ply(tmp_path / "mesh.ply")
    assert torch.allclose(found.float(), vertices) and torch.equal(triangles, faces)


@pytest.mark.parametrize("text", ["no mesh", "ply\nformat ascii 1.0\nend_header\n"])
def test_what_is_no_mesh_is_refused(tmp_path, text):
    (tmp_path / "mesh.ply").write_text(text)
    with pytest.raises(InputError, match=r"mesh\.ply: (is no PLY mesh|holds no triangles)"):
        read_ply(tmp_path / "mesh.ply")


def test_a_cloud_of_points_has_no_triangles(tmp_path):
    write_ply(tmp_path / "points.ply", torch.rand(5, 3), torch.zeros(0, 3, dtype=torch.long))
    with pytest.raises(InputError, match=r"points\.ply"):
        read_ply(tmp_path / "points.ply")


def test_channels_are_read_by_name_as_they_are(tmp_path):
    planes = {"normal.X": torch.randn(3, 4), "A": torch.rand(3, 4)}
    write_exr(tmp_path / "maps.exr", planes)
    found = read_exr_channels(tmp_path / "maps.exr", ["A", "normal.X"])
    assert all(torch.equal(found[name], plane) for name, plane in planes.items())
    with pytest.raises(InputError, match=r"has no channel depth\.V, only"):
        read_exr_channels(tmp_path / "maps.exr", ["A", "depth.V"])
