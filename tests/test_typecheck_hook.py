"""The canary: these tests fail when the run does not check the shapes in annotations.

pyproject.toml switches the check on with `--jaxtyping-packages=pipeline,beartype.beartype`.
"""

import pytest
import torch
from jaxtyping import TypeCheckError

from pipeline.color import linear_from_srgb
from pipeline.frames import equirect_uv_from_direction
from pipeline.scene import Mesh


def test_a_wrong_shape_is_refused() -> None:
    four_components = torch.ones(5, 4)  # the function itself would take these and ignore the fourth
    with pytest.raises(TypeCheckError):
        equirect_uv_from_direction(four_components)


def test_a_wrong_type_is_refused() -> None:
    bytes_as_read = torch.full((2, 2, 3), 128, dtype=torch.uint8)  # would come out as 1, clamped
    with pytest.raises(TypeCheckError):
        linear_from_srgb(bytes_as_read)


def test_a_dataclass_with_a_wrong_shape_is_refused() -> None:
    with pytest.raises(TypeCheckError):
        Mesh(vertices=torch.zeros(3, 2), faces=torch.zeros(1, 3, dtype=torch.int64))


def test_axes_of_one_call_must_agree() -> None:
    mesh = {"vertices": torch.zeros(3, 3), "faces": torch.zeros(2, 3, dtype=torch.int64), "uvs": torch.zeros(3, 2)}
    with pytest.raises(TypeCheckError):
        Mesh(**mesh, uv_faces=torch.zeros(1, 3, dtype=torch.int64))
