"""Assets survive their file exactly, whatever parts they have."""

from pathlib import Path

import pytest
import torch

from pipeline.formats.tensors import load_asset, save_asset
from pipeline.scene import Asset, Environment, Material, Mesh

VERTICES, FACES = torch.randn(4, 3), torch.tensor([[0, 1, 2], [2, 1, 3]])
BARE = Mesh(vertices=VERTICES, faces=FACES)
UNWRAPPED = Mesh(vertices=VERTICES, faces=FACES, uvs=torch.rand(5, 2), uv_faces=FACES + 1)
PLAIN = Material(base_color=torch.rand(8, 8, 3), orm=torch.rand(8, 8, 3))
FULL = Material(
    base_color=torch.rand(8, 8, 3), orm=torch.rand(8, 8, 3), normal=torch.rand(8, 8, 3), confidence=torch.rand(8, 8)
)
HARMONICS = Environment(coefficients=torch.randn(9, 3), basis="sh")
OCTAHEDRAL = Environment(coefficients=torch.rand(64, 3), basis="octahedral")


@pytest.mark.parametrize(
    "asset",
    [
        Asset(mesh=BARE),
        Asset(mesh=UNWRAPPED),
        Asset(mesh=UNWRAPPED, material=PLAIN, environment=HARMONICS, cam_from_world=torch.eye(4).double()[None]),
        Asset(mesh=UNWRAPPED, material=FULL, environment=OCTAHEDRAL, provenance={"loss": 0.1, "photo.psnr": 31.7}),
    ],
    ids=["bare", "unwrapped", "harmonics", "octahedral"],
)
def test_an_asset_comes_back_bit_by_bit(asset: Asset, tmp_path: Path) -> None:
    save_asset(asset, tmp_path / "asset.safetensors")
    loaded = load_asset(tmp_path / "asset.safetensors")
    assert loaded.provenance == asset.provenance
    mine, theirs = asset.cam_from_world, loaded.cam_from_world
    assert theirs is None if mine is None else torch.equal(mine, theirs)
    for part in ("mesh", "material", "environment"):
        mine, theirs = getattr(asset, part), getattr(loaded, part)
        assert (mine is None) == (theirs is None), part
        for name, value in vars(mine).items() if mine is not None else ():
            other = getattr(theirs, name)
            if isinstance(value, torch.Tensor):
                assert value.dtype == other.dtype and torch.equal(value, other), name
            else:
                assert value == other, name


def test_views_and_fitted_tensors_are_saved_as_they_are(tmp_path: Path) -> None:
    base_color = torch.rand(8, 3, 8, requires_grad=True).mT  # not contiguous, of an optimisation
    material = Material(base_color=base_color, orm=PLAIN.orm)
    save_asset(Asset(mesh=BARE, material=material), tmp_path / "asset.safetensors")
    loaded = load_asset(tmp_path / "asset.safetensors").material
    assert torch.equal(loaded.base_color, base_color.detach()) and not loaded.base_color.requires_grad
