"""Our files in a renderer that is not ours: directions of light and camera, uv, colour curve and channel order.

The same marker assets are checked in Blender by `scripts/check_export.py MARKERS --renderer blender --spots`.
"""

import numpy as np
import pytest
import trimesh

from pipeline.formats.gltf import read_gltf
from scripts import export_markers

mi = pytest.importorskip("mitsuba")


@pytest.fixture
def renderer_class():
    """The adapter, with Mitsuba's process-wide variant put back afterwards."""
    before = mi.variant()
    mi.set_variant("scalar_rgb")
    from scripts.render_mitsuba import MitsubaRenderer

    yield MitsubaRenderer
    if before is not None:
        mi.set_variant(before)


@pytest.fixture(scope="module")
def markers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("markers")
    export_markers.write_markers(folder)
    return folder


def pictures(renderer_class, folder, names, samples):
    renderer = renderer_class(folder / "asset.glb", max_depth=2)
    renderer.set_light(folder / "light.hdr")
    views = export_markers.views()
    return {name: (renderer.render(views[name], samples=samples), views[name]) for name in names}


def test_a_mirror_ball_shows_each_light_where_its_direction_is_reflected(renderer_class, markers):
    """Red at +X, green at +Y, blue at +Z, seen from the front, the right, and from above with the centre off."""
    check = export_markers.check_mirror
    for name, (picture, view) in pictures(renderer_class, markers / "mirror", ("front", "right", "above"), 8).items():
        assert check(picture, view) == [], name
        assert len(check(picture[:, ::-1], view)) > 0, "a mirrored picture must be noticed"
        assert len(check(picture[::-1], view)) > 0, "a picture upside down must be noticed"
        assert len(check(picture[..., [1, 0, 2, 3]], view)) > 0, "swapped axes must be noticed"


def test_a_chart_ball_shows_each_quarter_of_its_texture(renderer_class, markers):
    """The quarters' linear colours under uniform light: uv origin and directions, sRGB curve, absolute brightness."""
    check = export_markers.check_chart
    for name, (picture, view) in pictures(renderer_class, markers / "chart", ("right", "left"), 32).items():
        assert check(picture, view) == [], name
        assert len(check(picture[::-1], view)) > 0 and len(check(picture[:, ::-1], view)) > 0
        assert len(check(picture**2.2, view)) > 0, "a colour curve too many must be noticed"
        assert abs(np.mean(picture[..., 3]) - np.pi * 0.4**2) < 0.01


def test_marker_balls_are_closed_and_face_outwards(markers):
    read = read_gltf(markers / "chart" / "asset.glb")
    mesh = read.asset.mesh
    shape = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert shape.is_watertight and 4.1 < shape.volume < 4 / 3 * np.pi
    assert np.allclose(read.normals, mesh.vertices, atol=1e-6)
