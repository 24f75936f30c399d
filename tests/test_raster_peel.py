"""Depth peeling: layers in order, complete, and each as good as a first one."""

import torch

from pipeline.raster.cpu import CpuRasterizer

RASTERIZER = CpuRasterizer()


def soup(count, seed):
    """Random triangles of all depths, float32."""
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(2, 3 * count, 4, generator=generator) * torch.tensor([1.2, 1.2, 0.6, 0.2])
    return clip + torch.tensor([0, 0, 0, 1.0]), torch.arange(3 * count).reshape(-1, 3)


def test_layers_are_all_hits_sorted_by_depth():
    clip, faces = soup(12, 0)
    layers = RASTERIZER.peel(clip, faces, size_px=(23, 17), layers=50)
    assert len(layers) < 13
    # Every triangle alone, as the reference: what it covers must turn up in exactly one layer.
    alone = [RASTERIZER.rasterize(clip, face[None], size_px=(23, 17)) for face in faces]
    hits = torch.stack([raster.mask for raster in alone])
    seen = torch.stack([raster.face_id for raster in layers])
    for f in range(len(faces)):
        assert torch.equal((seen == f).sum(0), hits[f].long())
    depth = torch.stack([torch.where(raster.mask, raster.rast[..., 2], torch.inf) for raster in layers])
    assert (depth[1:] >= depth[:-1]).all()
    for raster in layers:
        for f in range(len(faces)):
            where = raster.face_id == f
            expected = alone[f].rast[where].clone()
            expected[:, 3] = f + 1
            assert torch.equal(raster.rast[where], expected)


def test_first_layer_equals_rasterize_and_the_last_is_not_empty():
    clip, faces = soup(60, 1)
    layers = RASTERIZER.peel(clip, faces, size_px=(40, 30), layers=4, derivatives=True)
    assert len(layers) == 4
    assert torch.equal(layers[0].rast, RASTERIZER.rasterize(clip, faces, size_px=(40, 30)).rast)
    assert layers[3].derivatives.abs().sum() > 0
    empty = RASTERIZER.peel(clip, faces[:0], size_px=(8, 8), layers=3)
    assert len(empty) == 1
    assert not empty[0].mask.any()


def test_coinciding_triangles_follow_by_index():
    clip = torch.tensor([[[-3.0, -1, 0.2, 1], [1, -1, 0.2, 1], [1, 3, 0.2, 1]]])
    layers = RASTERIZER.peel(clip, torch.tensor([[0, 1, 2]] * 3), size_px=(8, 8), layers=9)
    assert [set(raster.face_id.unique().tolist()) for raster in layers] == [{0}, {1}, {2}]


def test_layers_are_differentiable():
    clip, faces = soup(20, 2)
    clip = clip.double().requires_grad_()
    layers = RASTERIZER.peel(clip, faces, size_px=(23, 17), layers=2)
    grads = [torch.autograd.grad((raster.rast[..., :2] ** 2).sum(), clip)[0] for raster in layers]
    assert all(grad.abs().sum() > 0 for grad in grads)
    assert not torch.equal(*grads)
