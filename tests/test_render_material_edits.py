"""Changed materials."""

import pytest
import torch
from PIL import Image

from pipeline.errors import InputError, UsageError
from pipeline.render.material_edits import MaterialEdits
from pipeline.scene import Material


@pytest.fixture
def material():
    return Material(base_color=torch.rand(8, 16, 3), orm=torch.rand(8, 16, 3), confidence=torch.rand(8, 16))


def picture(path, color, size=(16, 8)):
    Image.new("RGB", size, color).save(path)
    return path


def test_nothing_asked_for_changes_nothing(material):
    edited = MaterialEdits().applied(material)
    assert torch.equal(edited.base_color, material.base_color) and torch.equal(edited.orm, material.orm)
    assert edited.normal is None


def test_swapped_maps_take_the_place_of_the_old_ones(material, tmp_path):
    swaps = {
        "base_color": picture(tmp_path / "a.png", (188, 0, 255)),
        "orm": picture(tmp_path / "b.jpg", (10, 10, 10)),
        "normal": picture(tmp_path / "c.png", (128, 128, 255)),
    }
    edited = MaterialEdits(swaps=swaps).applied(material)
    torch.testing.assert_close(edited.base_color[3, 3], torch.tensor([0.503, 0.0, 1.0]), atol=1e-3, rtol=0)  # sRGB
    torch.testing.assert_close(edited.orm, torch.full((8, 16, 3), 10 / 255), atol=0.01, rtol=0)
    torch.testing.assert_close(edited.normal[0, 0], torch.tensor([128, 128, 255]) / 255)


def test_maps_get_the_size_of_the_largest(material, tmp_path):
    large = picture(tmp_path / "a.png", (255, 255, 255), size=(64, 32))
    edited = MaterialEdits(swaps={"base_color": large}).applied(material)
    assert edited.base_color.shape == edited.orm.shape == (32, 64, 3)
    torch.testing.assert_close(edited.orm.mean((0, 1)), material.orm.mean((0, 1)), atol=0.02, rtol=0)


def test_tint_and_roughness(material):
    edited = MaterialEdits(tint=(0.5, 2.0, 0.0), roughness=0.25).applied(material)
    expected = (material.base_color * torch.tensor([0.5, 2.0, 0.0])).clamp(0, 1)
    torch.testing.assert_close(edited.base_color, expected)
    assert (edited.orm[..., 1] == 0.25).all()
    assert torch.equal(edited.orm[..., [0, 2]], material.orm[..., [0, 2]]) and (material.orm[..., 1] != 0.25).any()


def test_impossible_edits_are_refused(material, tmp_path):
    for values, told in (
        ({"tint": (1.0, -0.1, 1.0)}, "--tint -0.1 is outside 0 .. 100"),
        ({"roughness": 1.5}, "--roughness 1.5 is outside 0 .. 1"),
        ({"swaps": {"orm": tmp_path / "gone.png"}}, "gone.png: does not exist .*--swap orm=FILE"),
    ):
        with pytest.raises(UsageError, match=told):
            MaterialEdits(**values)
    square = picture(tmp_path / "square.png", (9, 9, 9), size=(8, 8))
    with pytest.raises(InputError, match="square.png: 8 x 8 pixels have another shape .* 16 x 8"):
        MaterialEdits(swaps={"orm": square}).applied(material)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(InputError, match="text.png: not an image"):
        MaterialEdits(swaps={"orm": text}).applied(material)
