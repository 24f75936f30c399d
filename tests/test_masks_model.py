"""A segmentation model that the user names: checked before the run, fed as its family wants, made consistent after."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pipeline.cli import main
from pipeline.config import MasksConfig
from pipeline.errors import InputError, UsageError
from pipeline.formats.images import read_mask
from pipeline.stages import masks_model
from pipeline.stages.masks import complete_masks
from pipeline.stages.masks_model import IMAGENET_MEAN, IMAGENET_STD, family_of, find_model, likelihood, normalised
from tests.plain_photos import WHITE, write_photos
from tests.stage_context import make_context

SIDE_PX = 128


def write_redness_model(path: Path, *, channels: int = 3, side: int | str = SIDE_PX) -> Path:
    """A 1 x 1 convolution that undoes ImageNet's scaling and answers log-odds of red above green by 0.12."""
    gain = 60.0
    weight = np.zeros((1, channels, 1, 1), np.float32)
    weight[0, 0], weight[0, 1] = gain * IMAGENET_STD[0], -gain * IMAGENET_STD[1]
    bias = np.array([gain * (IMAGENET_MEAN[0] - IMAGENET_MEAN[1] - 0.12)], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["picture", "weight", "bias"], ["map"])],
        "redness",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, channels, side, side])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 1, side, side])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_a_model_makes_masks_and_what_other_photos_do_not_see_is_dropped(tmp_path: Path) -> None:
    capture, truth = write_photos(tmp_path / "photos", 8, WHITE)
    for index, view in enumerate(capture.views):
        image = np.asarray(Image.open(view.image_path)).copy()
        image[truth[index] == 0] = np.random.default_rng(index).integers(90, 150, (1, 200, 1), np.uint8)[0, 0]
        image[truth[index] == 0] += np.arange(40000, dtype=np.uint8).reshape(200, 200)[truth[index] == 0][:, None] % 60
        if index in (1, 6):
            image[120:200, :30] = (220, 60, 40)  # a person in red at the side
        Image.fromarray(image).save(view.image_path)
    model = find_model(write_redness_model(tmp_path / "redness.onnx"), MasksConfig())
    context, warnings = make_context(tmp_path / "stage")
    done = complete_masks(capture, model, MasksConfig(), context)
    assert context.metrics["model"] == 8 and not warnings
    for index, view in enumerate(done.views):
        mask = read_mask(view.mask_path).numpy()
        assert mask.shape == (200, 200)
        red = redness(np.asarray(Image.open(view.image_path))) & (truth[index] > 0)
        assert (red & (mask > 0.5)).sum() / (red | (mask > 0.5)).sum() > 0.93
        assert mask[120:, :30].max() == 0


def redness(image: np.ndarray) -> np.ndarray:
    return image[..., 0] / 255.0 - image[..., 1] / 255.0 > 0.12


def test_the_sha256_is_checked_before_any_work(tmp_path: Path) -> None:
    path = write_redness_model(tmp_path / "m.onnx")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert find_model(path, MasksConfig(model_sha256=right.upper())).sha256 == right
    with pytest.raises(InputError, match=f"sha256 {right}, expected {'0' * 64}"):
        find_model(path, MasksConfig(model_sha256="0" * 64))
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        MasksConfig(model_sha256="abc")


def test_what_is_missing_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_model(None, MasksConfig()) is None
    with pytest.raises(UsageError, match="--mask-model FILE"):
        find_model(None, MasksConfig(method="model"))
    with pytest.raises(UsageError, match="does not exist"):
        find_model(tmp_path / "none.onnx", MasksConfig())
    path = write_redness_model(tmp_path / "m.onnx")
    monkeypatch.setattr(masks_model.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install recon-pbr\[masks\]"):
        find_model(path, MasksConfig())


def test_the_command_line_refuses_a_model_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    out = tmp_path / "out"
    words = [
        "run",
        "--images",
        str(tmp_path / "photos"),
        "--out",
        str(out),
        "--mask-model",
        str(tmp_path / "u2net.onnx"),
    ]
    assert main(words) == 2
    assert "u2net.onnx: does not exist" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("kind", ["text", "grey"])
def test_files_that_are_no_such_models_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    capture, _ = write_photos(tmp_path / "photos", 3, WHITE)
    path = tmp_path / "bad.onnx"
    if kind == "text":
        path.write_text("not a model")
    else:
        write_redness_model(path, channels=4)
    context, _ = make_context(tmp_path / "stage")
    with pytest.raises(InputError, match=r"bad\.onnx: .*" + ("cannot be loaded" if kind == "text" else "4, 128")):
        complete_masks(capture, find_model(path, MasksConfig()), MasksConfig(method="model"), context)


def test_photos_are_scaled_as_each_family_wants() -> None:
    rgb = np.full((60, 90, 3), (200, 100, 50), np.uint8)
    plain = normalised(rgb, 32, 24, None)
    assert plain.shape == (1, 3, 24, 32) and plain.dtype == np.float32
    by_maximum = np.array([1.0, 0.5, 0.25])
    assert np.allclose(plain[0, :, 3, 5], (by_maximum - IMAGENET_MEAN) / IMAGENET_STD, atol=1e-6)
    isnet = normalised(rgb, 32, 24, family_of("ISNet-general-use.onnx"))
    assert np.allclose(isnet[0, :, 3, 5], by_maximum - IMAGENET_MEAN, atol=1e-6)
    assert not normalised(np.zeros_like(rgb), 8, 8, None).max() > 0  # a black photo divides by no zero


def test_maps_are_read_as_each_family_writes_them() -> None:
    raw = np.array([[-2.0, 0.0], [1.0, 2.0]], np.float32)
    assert np.allclose(likelihood(raw, family_of("u2netp.onnx")), [[0, 0.5], [0.75, 1]])
    logistic = 1 / (1 + np.exp(-raw))
    stretched = (logistic - logistic.min()) / np.ptp(logistic)
    assert np.allclose(likelihood(raw, family_of("BiRefNet-general-epoch_244.onnx")), stretched)
    assert np.allclose(likelihood(raw, None), logistic)
    unit = np.array([[0.2, 0.4], [0.6, 0.7]], np.float32)
    assert np.array_equal(likelihood(unit, None), unit)
    assert not likelihood(np.full((2, 2), 0.3, np.float32), family_of("silueta.onnx")).any()


def test_a_model_of_any_size_gets_a_usual_one(tmp_path: Path) -> None:
    session, width, height = masks_model._open(write_redness_model(tmp_path / "any.onnx", side="side"), 1)
    assert (width, height) == (masks_model.DEFAULT_INPUT_PX, masks_model.DEFAULT_INPUT_PX)
    assert masks_model._run(session, np.zeros((1, 3, 16, 24), np.float32), tmp_path).shape == (16, 24)


def test_the_same_model_and_photos_give_the_same_masks(tmp_path: Path) -> None:
    capture, _ = write_photos(tmp_path / "photos", 4, WHITE)
    model = find_model(write_redness_model(tmp_path / "redness.onnx"), MasksConfig())
    config = replace(MasksConfig(), method="model")
    first, second = (complete_masks(capture, model, config, make_context(tmp_path / n)[0]) for n in ("a", "b"))
    for a, b in zip(first.views, second.views, strict=True):
        assert a.mask_path.read_bytes() == b.mask_path.read_bytes()
