"""Each reader of poses against a model that pycolmap made: sparse points project to the same pixels, to 1e-3 px."""

import json
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
import torch
from scipy.ndimage import map_coordinates

from pipeline.errors import InputError
from pipeline.formats.colmap import MAX_POINTS, read_colmap
from pipeline.formats.given_cameras import GivenPoses, Lens
from pipeline.formats.metashape import read_metashape
from pipeline.formats.pose_files import files_of, find_pose_files, read_poses
from pipeline.formats.realityscan import read_table, read_xmp_folder
from pipeline.frames import upright_cam_from_stored_cam
from pipeline.stages.sfm_given import given_undistortion
from tests import posed_model
from tests.posed_model import HEIGHT, LENSES, WIDTH, observations, synthesize

# fx and fy are one in these files.
ONE_FOCAL = [300, 300, 158, 123, -0.1, 0.05, 0.002, -0.001]
WRITERS = {
    "colmap-binary": ("OPENCV", None, lambda made, folder: posed_model.write_colmap(made, folder / "0", text=False)),
    "colmap-text": ("OPENCV", None, lambda made, folder: posed_model.write_colmap(made, folder / "0", text=True)),
    "transforms": ("OPENCV", None, lambda made, folder: posed_model.write_transforms(made, folder / "t.json")),
    "transforms-fisheye": (
        "OPENCV_FISHEYE",
        None,
        lambda made, folder: posed_model.write_transforms(made, folder / "t.json", fisheye=True),
    ),
    "llff": ("SIMPLE_PINHOLE", None, lambda made, folder: posed_model.write_llff(made, folder / "poses_bounds.npy")),
    "metashape": ("OPENCV", None, lambda made, folder: posed_model.write_metashape(made, folder / "m.xml")),
    "metashape-fisheye": (
        "OPENCV_FISHEYE",
        None,
        lambda made, folder: posed_model.write_metashape(made, folder / "m.xml", fisheye=True),
    ),
    "realityscan-table": (
        "OPENCV",
        ONE_FOCAL,
        lambda made, folder: posed_model.write_realityscan_table(made, folder / "r.csv"),
    ),
    "realityscan-xmp": (
        "OPENCV",
        ONE_FOCAL,
        lambda made, folder: posed_model.write_realityscan_xmp(made, folder / "xmp"),
    ),
}


def read(path: Path, made: pycolmap.Reconstruction) -> GivenPoses:
    names = [image.name for image in made.images.values()]
    return read_poses(path, size_of=lambda name: (WIDTH, HEIGHT), names=names)


def projected(lens: Lens, points: np.ndarray) -> np.ndarray:
    """Pixels of points in the camera's frame, by pycolmap with the lens as it was read."""
    camera = pycolmap.Camera(model=lens.model, width=lens.width, height=lens.height, params=np.array(lens.params))
    return np.asarray(camera.img_from_cam(points))


def check_projections(given: GivenPoses, made: pycolmap.Reconstruction) -> None:
    """Through the lens as read, and through the undistorted pinhole and its way back into the photo."""
    seen = {name.rpartition(".")[0]: value for name, value in observations(made).items()}
    assert len(given.cameras) == len(seen) == 8
    undistortions: dict[Lens, tuple] = {}
    checked = 0
    for camera in given.cameras:
        points, pixels = seen[Path(camera.name).name.removesuffix(".png")]
        pose = camera.cam_from_world.numpy()
        in_cam = points @ pose[:3, :3].T + pose[:3, 3]
        np.testing.assert_allclose(projected(camera.lens, in_cam), pixels, atol=1e-6)
        if camera.lens not in undistortions:
            undistortions[camera.lens] = given_undistortion(camera.lens)
        pinhole, map_to_photo = undistortions[camera.lens]
        flat = in_cam @ pinhole.calibration_matrix().T
        x, y = flat[:, 0] / flat[:, 2], flat[:, 1] / flat[:, 2]
        inside = (x > 1) & (y > 1) & (x < pinhole.width - 1) & (y < pinhole.height - 1)
        place = [y[inside] - 0.5, x[inside] - 0.5]
        photo = np.stack([map_coordinates(map_to_photo[..., k], place, order=3) for k in (0, 1)], axis=1)
        np.testing.assert_allclose(photo, pixels[inside], atol=1e-3)
        checked += int(inside.sum())
    assert checked > 300


@pytest.mark.parametrize("kind", WRITERS)
def test_sparse_points_project_as_in_the_model(kind: str, tmp_path: Path) -> None:
    model, params, write = WRITERS[kind]
    made = synthesize(model, params)
    check_projections(read(write(made, tmp_path), made), made)


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize("model", LENSES)
def test_every_perspective_model_of_colmap(model: str, text: bool, tmp_path: Path) -> None:
    made = synthesize(model)
    given = read_colmap(posed_model.write_colmap(made, tmp_path / "sparse", text=text))
    check_projections(given, made)
    assert given.cameras[0].lens.is_pinhole == (model in ("SIMPLE_PINHOLE", "PINHOLE"))
    order = sorted(made.points3D)
    expected = {tuple(np.round(made.points3D[k].xyz, 9)): made.points3D[k].color for k in order}
    assert len(given.points) == len(expected)
    for point, color in zip(given.points.numpy(), given.point_colors.numpy(), strict=True):
        np.testing.assert_allclose(color * 255, expected[tuple(np.round(point, 9))], atol=1e-9)


def test_a_panorama_has_no_pinhole(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("1 EQUIRECTANGULAR 320 240 320 240\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.jpg\n\n")
    with pytest.raises(InputError, match="cameras.txt: line 1: has the model 'EQUIRECTANGULAR'"):
        read_colmap(tmp_path)


def test_the_points_that_most_photos_see_are_kept(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("1 SIMPLE_PINHOLE 320 240 300 160 120\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a b.jpg\n\n2 2 0 0 0 0 0 0 1 c.jpg")
    (tmp_path / "points3D.txt").write_text("1 7 7 7 255 0 0 0.5 1 0 2 0\n" + "2 0 0 0 0 0 0 0.5 1 0\n" * MAX_POINTS)
    given = read_colmap(tmp_path)
    assert [c.name for c in given.cameras] == ["a b.jpg", "c.jpg"]
    assert len(given.points) == MAX_POINTS
    assert given.points[-1].tolist() == [7, 7, 7] and given.point_colors[-1].tolist() == [1, 0, 0]


def test_resized_photos_scale_the_lens(tmp_path: Path) -> None:
    made = synthesize("OPENCV")
    camera = read(posed_model.write_colmap(made, tmp_path / "0", text=False), made).cameras[0]
    points, pixels = observations(made)[camera.name]
    pose = camera.cam_from_world.numpy()
    small = camera.lens.resized(WIDTH // 2, HEIGHT // 4)
    np.testing.assert_allclose(projected(small, points @ pose[:3, :3].T + pose[:3, 3]), pixels * [0.5, 0.25], atol=1e-9)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("model", LENSES)
def test_a_turned_lens_sees_turned_points_at_turned_pixels(model: str, orientation: int, tmp_path: Path) -> None:
    made = synthesize(model)
    lens = read_colmap(posed_model.write_colmap(made, tmp_path / "0", text=False)).cameras[0].lens
    points = np.random.default_rng(0).uniform([-0.5, -0.4, 1.0], [0.5, 0.4, 1.2], (20, 3))
    turn = upright_cam_from_stored_cam(orientation)
    turned = lens.turned(turn)
    x, y = projected(lens, points).T
    expected = {1: (x, y), 3: (WIDTH - x, HEIGHT - y), 6: (HEIGHT - y, x), 8: (y, WIDTH - x)}[orientation]
    np.testing.assert_allclose(projected(turned, points @ turn.numpy().T), np.stack(expected, 1), atol=1e-9)
    assert (turned.width, turned.height) == ((WIDTH, HEIGHT) if orientation < 6 else (HEIGHT, WIDTH))


def test_the_distortion_is_opencvs(tmp_path: Path) -> None:
    """OpenCV, whose pixels are centre-based, agrees on the frames of a transforms.json."""
    made = synthesize("OPENCV")
    for camera in read(posed_model.write_transforms(made, tmp_path / "t.json"), made).cameras:
        points, pixels = observations(made)[Path(camera.name).name]
        K = camera.lens.K.numpy() - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
        pose = camera.cam_from_world.numpy()
        turn = cv2.Rodrigues(pose[:3, :3])[0]
        by_opencv, _ = cv2.projectPoints(points, turn, pose[:3, 3], K, np.array(camera.lens.distortion))
        np.testing.assert_allclose(by_opencv[:, 0] + 0.5, pixels, atol=1e-6)


def test_nerfstudios_applied_transform_is_undone(tmp_path: Path) -> None:
    """Cameras of COLMAP turned to +z up, as nerfstudio writes them, come back in COLMAP's frame."""
    made = synthesize("OPENCV")
    applied = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]])
    path = posed_model.write_transforms(made, tmp_path / "t.json")
    file = json.loads(path.read_text())
    for frame in file["frames"]:
        matrix = np.vstack([applied, [0, 0, 0, 1]]) @ frame["transform_matrix"]
        matrix[:3, 3] *= 2.5
        frame["transform_matrix"] = matrix.tolist()
    path.write_text(json.dumps(file | {"applied_transform": applied.tolist(), "applied_scale": 2.5}))
    check_projections(read(path, made), made)


def test_nerfstudios_splits_hold_photos_out(tmp_path: Path) -> None:
    made = synthesize("OPENCV")
    names = [f"./images/{image.name}" for image in made.images.values()]
    train = [name.removeprefix("./") for name in names[:6]]
    path = posed_model.write_transforms(made, tmp_path / "a.json", train_filenames=train)
    given = read(path, made)
    assert {c.name for c in given.cameras} == set(names[:6]) and set(given.held_out) == set(names[6:])
    path = posed_model.write_transforms(made, tmp_path / "b.json", val_filenames=names[:1], test_filenames=names[5:])
    assert {c.name for c in read(path, made).cameras} == set(names[1:5])


def test_the_published_example_of_realityscan(tmp_path: Path) -> None:
    """A camera that its user exported as a table and as XMP (https://forums.unrealengine.com/t/710449)."""
    line = "a.jpg,1,2,3,163.736597399311,83.4154313461628,174.386496244756,24"
    (tmp_path / "r.csv").write_text(f"#name,x,y,alt,heading,pitch,roll,f\n{line}\n")
    pose = read_table(tmp_path / "r.csv", lambda name: (40, 30)).cameras[0].cam_from_world
    published = [
        [0.982594073038806, 0.185426733553445, -0.0112166890261935],
        [-0.032113633044729, 0.11008102707942, -0.993403685341366],
        [-0.18296885582437, 0.976472781986697, 0.114],  # the last one was cut off in the post
    ]
    np.testing.assert_allclose(pose[:3, :3].numpy(), published, atol=2e-4)
    np.testing.assert_allclose(pose[:2, :3].numpy(), published[:2], atol=1e-12)
    np.testing.assert_allclose((pose @ torch.tensor([1.0, 2, 3, 1]).double())[:3].numpy(), np.zeros(3), atol=1e-12)


def test_the_manuals_example_of_metashape(tmp_path: Path) -> None:
    """The numbers of the docstring, worked out by hand."""
    (tmp_path / "m.xml").write_text(
        '<document><chunk><sensors><sensor id="0"><resolution width="4000" height="3000"/><calibration type="frame">'
        "<f>3000</f><cx>10</cx><cy>-5</cy><p1>0.001</p1></calibration></sensor></sensors><cameras>"
        '<camera label="a" sensor_id="0"><transform>1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1</transform></camera>'
        "</cameras></chunk></document>"
    )
    lens = read_metashape(tmp_path / "m.xml").cameras[0].lens
    np.testing.assert_allclose(projected(lens, np.array([[1.0, 0.5, 2.0]])), [[3512.4375, 2245.75]], atol=1e-9)


def test_skew_of_metashape_is_taken_out_with_the_distortion() -> None:
    """u = w/2 + cx + f x' + b2 y' for a point behind a pixel of the pinhole."""
    middle = {"cx": 160.0, "cy": 120.0, "width": 320, "height": 240}
    lens = Lens(model="FULL_OPENCV", fx=300.0, fy=300.0, distortion=(0.0,) * 8, skew=3.0, **middle)
    assert not lens.is_pinhole
    pinhole, place = given_undistortion(lens)
    x, y, _ = np.linalg.inv(pinhole.calibration_matrix()) @ [200.5, 30.5, 1.0]
    np.testing.assert_allclose(place[30, 200], [160 + 300 * x + 3 * y, 120 + 300 * y], atol=1e-9)


def test_everything_beside_the_photos_is_found_and_the_best_comes_first(tmp_path: Path) -> None:
    made, plain = synthesize("OPENCV", ONE_FOCAL), synthesize("SIMPLE_PINHOLE")
    xmp = posed_model.write_realityscan_xmp(made, tmp_path / "photos")
    for k in (0, 1):
        posed_model.write_colmap(made, tmp_path / "photos" / "sparse" / str(k), text=False)
    (xmp / "sparse/0/images.bin").write_bytes((1).to_bytes(8, "little"))
    posed_model.write_transforms(made, xmp / "transforms.json")
    posed_model.write_llff(plain, xmp / "poses_bounds.npy")
    posed_model.write_metashape(made, xmp / "cameras.xml")
    posed_model.write_realityscan_table(made, xmp / "cameras.csv")
    (xmp / "notes.xml").write_text("<notes/>")
    (xmp / "prices.csv").write_text("name,price\n")
    (xmp / "transforms_test.json").write_text("{}")
    (xmp / "raw.xmp").write_text('<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
    found = find_pose_files(xmp)
    names = [path.relative_to(tmp_path).as_posix() for path in found]
    below = ["/transforms.json", "/sparse/1", "/sparse/0", "/poses_bounds.npy", "/cameras.xml", "/cameras.csv", ""]
    assert names == [f"photos{name}" for name in below]
    assert len(files_of(found[-1])) == 8 and files_of(found[0]) == (found[0],)
    assert [p.name for p in files_of(found[1])] == ["cameras.bin", "images.bin", "points3D.bin"]
    for path in (found[0], found[1], *found[4:]):
        check_projections(read(path, made), made)
    check_projections(read(xmp / "sparse/1/cameras.bin", made), made)


def test_a_photo_is_no_file_of_poses(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("x")
    with pytest.raises(
        InputError, match=r"a\.jpg: is no file of poses that is read \(read are transforms.json, a COLMAP"
    ):
        read_poses(tmp_path / "a.jpg", size_of=lambda name: None, names=[])
    with pytest.raises(InputError, match="holds no cameras"):
        read_xmp_folder(tmp_path, lambda name: None)
