"""Filling texels that no photo shows."""

import torch

from pipeline.raster.cpu import CpuRasterizer
from pipeline.scene import Mesh
from pipeline.stages.appearance_fill import fill_unseen, seen_weight, texel_surface

SIZE = 32


def two_charts():
    """Two squares that touch in space along x = 1, and lie in opposite corners of the texture."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2]])
    square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]) * 0.375
    uvs = torch.cat([square + 0.03125, square + 0.59375])
    uv_faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    return Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=uv_faces)


def surface():
    mesh = two_charts()
    return texel_surface(mesh, mesh.vertices, SIZE, CpuRasterizer())


def test_texels_know_where_they_lie_in_space():
    in_chart, position = surface()
    assert int(in_chart.sum()) == 2 * 12 * 12
    first = in_chart.clone()
    first[16:] = False
    row, column = first.nonzero().unbind(1)
    expected = torch.stack([(column + 0.5) / SIZE - 0.03125, (row + 0.5) / SIZE - 0.03125], -1) / 0.375
    torch.testing.assert_close(position[first][:, :2], expected, atol=1e-5, rtol=0)


def test_unseen_texels_take_the_nearest_surface_in_space_not_in_the_texture():
    """The far edge of the first square is nearest to the second square, which lies far off in the texture."""
    in_chart, position = surface()
    maps = torch.zeros(SIZE, SIZE, 2)
    x = position[..., 0]
    maps[in_chart & (x < 0.5)] = torch.tensor([1.0, 0.2])
    maps[in_chart & (x > 1.0)] = torch.tensor([0.3, 0.9])
    seen = in_chart & ((x < 0.5) | (x > 1.0))
    filled = fill_unseen(maps, seen, in_chart, position)
    torch.testing.assert_close(filled[in_chart & (x > 0.85) & (x < 1)], torch.tensor([0.3, 0.9]).expand(24, 2))
    torch.testing.assert_close(filled[in_chart & (x > 0.5) & (x < 0.65)], torch.tensor([1.0, 0.2]).expand(24, 2))
    torch.testing.assert_close(filled[seen], maps[seen])


def test_gaps_between_charts_repeat_the_nearest_chart():
    in_chart, position = surface()
    maps = torch.rand(SIZE, SIZE, 3)
    filled = fill_unseen(maps, in_chart, in_chart, position)
    rows, columns = in_chart[:16].any(1).nonzero()[:, 0], in_chart[:16].any(0).nonzero()[:, 0]
    last_row, last_column = int(rows[-1]), int(columns[-1])
    torch.testing.assert_close(
        filled[int(rows[0]) : last_row + 1, last_column + 1], maps[int(rows[0]) : last_row + 1, last_column]
    )
    torch.testing.assert_close(filled[0, 0], maps[int(rows[0]), int(columns[0])])


def test_nothing_seen_changes_nothing_on_the_charts():
    in_chart, position = surface()
    maps = torch.rand(SIZE, SIZE, 3)
    filled = fill_unseen(maps, torch.zeros_like(in_chart), in_chart, position)
    torch.testing.assert_close(filled[in_chart], maps[in_chart])


def test_each_pixel_is_counted_once():
    uv = torch.rand(1000, 2)
    weight = seen_weight(uv, SIZE)
    assert abs(float(weight.sum()) - 1000) < 1e-2
    centre = seen_weight(torch.tensor([[4.5 / SIZE, 7.5 / SIZE]]), SIZE)
    assert float(centre[7, 4]) == 1
