"""Given poses at work: photos are matched, resized, undistorted with their masks, and mapped back to their frame."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import torch
from PIL import Image

from pipeline.config import PosesConfig, WorldConfig
from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.formats.images import read_image, read_mask
from pipeline.formats.transforms_json import read_transforms_by_name
from pipeline.scene import Capture, Photo, Photos, Verdict
from pipeline.stages.poses import STAGE
from pipeline.stages.poses_match import PhotoNames
from pipeline.stages.world_frame import settle
from tests import posed_model
from tests.ingest_runs import ingest, no_children  # noqa: F401  # a fixture
from tests.posed_model import HEIGHT, WIDTH, observations, synthesize
from tests.stage_context import make_context


def ramps(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A photo whose red tells x and whose green tells y, as shares of the size."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return (np.stack([x, y, np.full_like(x, 0.5)], axis=2) * 255).round().astype(np.uint8)


def as_photos(made: pycolmap.Reconstruction, folder: Path, poses_path: Path, size=(WIDTH, HEIGHT)) -> Photos:
    """The photos of a model as ingest leaves them, each with a mask whose left half is white."""
    folder.mkdir(exist_ok=True)
    photos = []
    for k, name in enumerate(sorted(image.name for image in made.images.values())):
        image_path, mask_path = folder / f"{k:04d}.png", folder / f"{k:04d}_mask.png"
        Image.fromarray(ramps(*size)).save(image_path)
        Image.fromarray((ramps(*size)[..., 0] < 128).astype(np.uint8) * 255).save(mask_path)
        photos.append(photo(name, image_path=image_path, mask_path=mask_path, width=size[0], height=size[1]))
    return Photos(photos=tuple(photos), poses_path=poses_path)


def photo(name: str, **more) -> Photo:
    values = {"image_path": Path(name), "mask_path": None, "width": 40, "height": 30} | more
    return Photo(name=name, focal_px=None, camera_label="", **values)


def run(photos: Photos, folder: Path) -> tuple[Capture, list[str]]:
    context, warnings = make_context(folder / "poses")
    capture = STAGE.compute(photos, PosesConfig(), context)
    STAGE.save(capture, context.folder)
    return STAGE.load(context.folder), warnings


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2)], ids=["as posed", "resized"])
def test_photos_and_masks_lose_their_distortion(size: tuple[int, int], tmp_path: Path) -> None:
    """A sparse point is seen in the undistorted photo with the colour of its pixel in the photo as it was taken."""
    made = synthesize("OPENCV")
    poses = posed_model.write_colmap(made, tmp_path / "sparse", text=False)
    capture, warnings = run(as_photos(made, tmp_path / "photos", poses, size), tmp_path)
    assert warnings == [] and len(capture.views) == 8
    assert len(capture.points) == len(made.points3D) and capture.point_colors.max() > 0.5
    for view in capture.views:
        points, pixels = observations(made)[view.name]
        found, depth = view.camera.project(torch.from_numpy(points))
        x, y = found.floor().long().T
        inside = (x > 1) & (y > 1) & (x < view.camera.width - 2) & (y < view.camera.height - 2) & (depth > 0)
        image = read_image(view.image_path)
        assert image.shape == (view.camera.height, view.camera.width, 3) and int(inside.sum()) > 30
        told = image[y[inside], x[inside], :2] / 255
        expected = pixels[inside] / [WIDTH, HEIGHT]
        # Half a pixel for taking the nearest one, half a step of 8 bits and JPEG at quality 97: 2 of 255.
        np.testing.assert_allclose(told, expected, atol=0.5 / min(size) + 3 / 255)
        assert np.abs(np.mean(told - expected, axis=0)).max() < 1 / 255  # and no shift
        mask = read_mask(view.mask_path).numpy()
        near_edge = np.abs(image[..., 0].astype(float) - 127.5) < 4
        assert ((mask > 0.5) == (image[..., 0] < 128))[~near_edge].all()


def test_deep_photos_stay_deep(tmp_path: Path) -> None:
    """Radiance that is the pixel's place: the undistorted picture tells where each of its pixels was in the photo."""
    made = synthesize("OPENCV")
    photos = as_photos(made, tmp_path / "photos", posed_model.write_colmap(made, tmp_path / "sparse", text=False))
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    place = np.stack([x, y, np.full_like(x, 300)], axis=2).astype(np.float32)
    radiance = images.write_deep(tmp_path / "radiance", place)
    sixteen = images.write_deep(tmp_path / "sixteen", (place * 100).astype(np.uint16))
    deep = [radiance, sixteen, *[None] * 6]
    given = tuple(dataclasses.replace(p, deep_path=d) for p, d in zip(photos.photos, deep, strict=True))
    capture, _ = run(dataclasses.replace(photos, photos=given), tmp_path)
    assert [v.image_path.suffix for v in capture.views] == [".exr", ".png", *[".jpg"] * 6]
    for view, unit in zip(capture.views[:2], (1, 100), strict=True):
        camera = view.camera
        pixels = torch.tensor([[u + 0.5, v + 0.5, 1.0] for u in range(5, 280, 50) for v in range(5, 200, 40)]).double()
        rays = (pixels @ torch.linalg.inv(camera.K).mT).numpy()
        expected = np.asarray(made.cameras[1].img_from_cam(rays))
        told = images.read_deep(view.image_path)[pixels[:, 1].long(), pixels[:, 0].long(), :2] / unit
        # OpenCV looks up at 32nds of a pixel, and its cubic (A = -0.75) bends a straight ramp by as much again.
        np.testing.assert_allclose(told, expected, atol=0.06)
        assert np.abs(np.mean(told - expected, axis=0)).max() < 0.02


def test_photos_of_a_pinhole_are_used_as_they_are(tmp_path: Path) -> None:
    made = synthesize("PINHOLE")
    poses = posed_model.write_colmap(made, tmp_path / "sparse", text=True)
    photos = as_photos(made, tmp_path / "photos", poses)
    deep = dataclasses.replace(photos.photos[0], deep_path=tmp_path / "deep.exr")
    photos = dataclasses.replace(photos, photos=(deep, *photos.photos[1:]))
    capture, _ = run(photos, tmp_path)
    assert [v.image_path for v in capture.views] == [p.deep_path or p.image_path for p in photos.photos]
    assert [v.mask_path for v in capture.views] == [p.mask_path for p in photos.photos]
    assert not (tmp_path / "poses/images").exists() and not (tmp_path / "poses/undistort.log").exists()


def test_one_bent_lens_leaves_the_other_photos_alone(tmp_path: Path) -> None:
    made = synthesize("PINHOLE")
    poses = posed_model.write_transforms(made, tmp_path / "t.json")
    file = json.loads(poses.read_text())
    file["frames"][3]["k1"] = -0.1
    poses.write_text(json.dumps(file))
    photos = as_photos(made, tmp_path / "photos", poses)
    capture, _ = run(photos, tmp_path)
    bent = [v.image_path != p.image_path for v, p in zip(capture.views, photos.photos, strict=True)]
    assert bent == [k == 3 for k in range(8)]


def test_results_map_back_to_the_frame_of_the_file(tmp_path: Path) -> None:
    """A point of the file, moved by `world_from_input`, is seen where COLMAP sees it; its inverse is the way back."""
    made = synthesize("PINHOLE")
    poses = posed_model.write_colmap(made, tmp_path / "sparse", text=False)
    capture = settle(run(as_photos(made, tmp_path / "photos", poses), tmp_path)[0], WorldConfig(), seed=0)
    for view in capture.views:
        points, pixels = observations(made)[view.name]
        world = torch.from_numpy(points) @ capture.world_from_input[:3, :3].mT + capture.world_from_input[:3, 3]
        np.testing.assert_allclose(view.camera.project(world)[0].numpy(), pixels, atol=1e-6)
    input_from_world = torch.linalg.inv(capture.world_from_input)
    back = capture.points @ input_from_world[:3, :3].mT + input_from_world[:3, 3]
    assert {tuple(p) for p in back.numpy().round(6) + 0.0} == {
        tuple(np.round(p.xyz, 6) + 0.0) for p in made.points3D.values()
    }


def test_photos_held_out_for_testing_are_not_missed(tmp_path: Path) -> None:
    made = synthesize("PINHOLE")
    names = [f"./images/{name}" for name, *_ in posed_model.poses(made)]
    poses = posed_model.write_transforms(made, tmp_path / "t.json", train_filenames=names[:3])
    capture, warnings = run(as_photos(made, tmp_path / "photos", poses), tmp_path)
    assert [f"./images/{v.name}" for v in capture.views] == names[:3] and warnings == []


def test_llff_counts_the_photos_that_ingest_left_out(tmp_path: Path) -> None:
    """The file knows photos by their order only: one that is not usable still takes its row."""
    made = synthesize("SIMPLE_PINHOLE")
    poses = posed_model.write_llff(made, tmp_path / "poses_bounds.npy")
    photos = as_photos(made, tmp_path / "photos", poses)
    left_out = Verdict(name=photos.photos[0].name, used=False, reason="blurred", figures={}, limits={})
    fewer = dataclasses.replace(photos, photos=photos.photos[1:], verdicts=(left_out,))
    capture, _ = run(fewer, tmp_path)
    for view in capture.views:
        points, pixels = observations(made)[view.name]
        np.testing.assert_allclose(view.camera.project(torch.from_numpy(points))[0].numpy(), pixels, atol=1e-6)
    with pytest.raises(InputError, match="poses_bounds.npy: holds 8 cameras for 7 photos.*exactly the photos"):
        run(dataclasses.replace(fewer, verdicts=()), tmp_path)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((HEIGHT, WIDTH), "320x240 px here, its photo 240x320 px: one of them is turned by 90 degrees"),
        ((WIDTH, HEIGHT - 5), "320x240 px here, its photo 320x235 px .*cropped or turned ones do not"),
    ],
)
def test_photos_of_another_shape_are_refused(size: tuple[int, int], message: str, tmp_path: Path) -> None:
    made = synthesize("OPENCV")
    poses = posed_model.write_metashape(made, tmp_path / "m.xml")
    with pytest.raises(InputError, match=rf"m\.xml: camera000001_frame00000.: is {message}"):
        run(as_photos(made, tmp_path / "photos", poses, size), tmp_path)


def turned_pixels(pixels: np.ndarray, orientation: int, width: float, height: float) -> np.ndarray:
    """Where a pixel of the stored photo (width x height) lies once the photo is upright: EXIF 2.32, tag 274."""
    x, y = pixels.T
    return np.stack({1: (x, y), 3: (width - x, height - y), 6: (height - y, x), 8: (y, width - x)}[orientation], 1)


def turned_photos(photos: Photos, orientations: list[int], folder: Path) -> Photos:
    """The photos as ingest leaves those that were stored with these orientations: turned upright."""
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
    turned = []
    for before, orientation in zip(photos.photos, orientations, strict=True):
        with Image.open(before.image_path) as image:
            upright = image.transpose(turns[orientation]) if orientation in turns else image.copy()
        path = folder / f"upright{before.image_path.name}"
        upright.save(path)
        changed = {"image_path": path, "mask_path": None, "width": upright.width, "height": upright.height}
        turned.append(dataclasses.replace(before, orientation=orientation, **changed))
    return dataclasses.replace(photos, photos=tuple(turned))


@pytest.mark.parametrize("model", ["PINHOLE", "OPENCV", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"])
def test_cameras_of_stored_pixels_are_turned_with_their_photos(model: str, tmp_path: Path) -> None:
    """COLMAP poses the pixels as they are stored: a point lies on the turned photo at its turned pixel's colour."""
    made = synthesize(model)
    poses = posed_model.write_colmap(made, tmp_path / "sparse", text=False)
    orientations = [1, 3, 6, 8, 1, 3, 6, 8]
    photos = turned_photos(as_photos(made, tmp_path / "photos", poses), orientations, tmp_path / "photos")
    capture, warnings = run(photos, tmp_path)
    assert warnings == []
    for view, orientation in zip(capture.views, orientations, strict=True):
        points, pixels = observations(made)[view.name]
        found, _ = view.camera.project(torch.from_numpy(points))
        if model == "PINHOLE":
            expected = turned_pixels(pixels, orientation, WIDTH, HEIGHT)
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
        x, y = found.floor().long().T
        inside = (x > 1) & (y > 1) & (x < view.camera.width - 2) & (y < view.camera.height - 2)
        assert int(inside.sum()) > 30
        told = read_image(view.image_path)[y[inside], x[inside], :2] / 255
        assert np.abs(np.mean(told - pixels[inside] / [WIDTH, HEIGHT], axis=0)).max() < 1 / 255


@pytest.mark.usefixtures("no_children")
def test_ingest_tells_how_photos_were_stored(tmp_path: Path) -> None:
    made = synthesize("PINHOLE")
    poses = posed_model.write_colmap(made, tmp_path / "sparse", text=False)
    orientations = [1, 3, 6, 8, 1, 3, 6, 8]
    (tmp_path / "photos").mkdir()
    for k, (name, *_) in enumerate(posed_model.poses(made)):
        stored = ramps()
        stored[..., 2] = np.random.default_rng(k).integers(0, 256, stored.shape[:2])
        exif = Image.Exif()
        exif[0x0112] = orientations[k]
        Image.fromarray(stored).save(tmp_path / "photos" / name, exif=exif)
    photos, _ = ingest(tmp_path / "photos", thin_bursts=False)
    assert [p.orientation for p in photos.photos] == orientations
    capture, _ = run(dataclasses.replace(photos, poses_path=poses), tmp_path)
    for view, orientation in zip(capture.views, orientations, strict=True):
        points, pixels = observations(made)[view.name]
        found, _ = view.camera.project(torch.from_numpy(points))
        np.testing.assert_allclose(found.numpy(), turned_pixels(pixels, orientation, WIDTH, HEIGHT), atol=1e-6)


def test_cameras_of_upright_photos_are_left_as_they_are(tmp_path: Path) -> None:
    """The photos on their side tell how the others are to be understood, too."""
    made = synthesize("PINHOLE", [300, 300, 160, 120])
    poses = posed_model.write_transforms(made, tmp_path / "t.json")
    file = json.loads(poses.read_text())
    for frame in file["frames"][:2]:
        frame.update(w=HEIGHT, h=WIDTH, cx=120, cy=160)
    poses.write_text(json.dumps(file))
    orientations = [6, 8, 3, 3, 1, 1, 1, 1]
    photos = turned_photos(as_photos(made, tmp_path / "photos", poses), orientations, tmp_path / "photos")
    for view, (_, rotation, _, _) in zip(run(photos, tmp_path)[0].views, posed_model.poses(made), strict=True):
        np.testing.assert_allclose(view.camera.cam_from_world[:3, :3].numpy(), rotation.T, atol=1e-12)


def test_without_a_photo_on_its_side_the_program_tells(tmp_path: Path) -> None:
    made = synthesize("PINHOLE")
    for write, turned in ((posed_model.write_transforms, False), (posed_model.write_metashape, True)):
        made_poses = write(synthesize("OPENCV"), tmp_path / ("m.xml" if turned else "t.json"))
        photos = turned_photos(as_photos(made, tmp_path / "photos", made_poses), [3] * 8, tmp_path / "photos")
        capture, warnings = run(photos, tmp_path / made_poses.stem)
        assert [w[:31] for w in warnings] == ([] if turned else ["8 photos, as camera000001_frame"])
        camera = capture.views[0].camera
        _, rotation, _, _ = posed_model.poses(made)[0]
        agree = float((camera.cam_from_world[:3, :3].numpy() * rotation.T).sum())
        assert agree == pytest.approx(-1 if turned else 3, abs=1e-9)


def test_mirror_images_have_no_pose(tmp_path: Path) -> None:
    made = synthesize("PINHOLE")
    poses = posed_model.write_colmap(made, tmp_path / "sparse", text=False)
    photos = as_photos(made, tmp_path / "photos", poses)
    mirrored = dataclasses.replace(photos.photos[0], orientation=2)
    with pytest.raises(InputError, match="frame000000.png: is a mirror image .EXIF orientation 2."):
        run(dataclasses.replace(photos, photos=(mirrored, *photos.photos[1:])), tmp_path)


@pytest.mark.parametrize("size", [(107, 80), (106, 80), (53, 40), (641, 480)])
def test_sizes_that_were_rounded_are_resized_photos(size: tuple[int, int], tmp_path: Path) -> None:
    made = synthesize("PINHOLE")
    poses = posed_model.write_colmap(made, tmp_path / "sparse", text=True)
    camera = run(as_photos(made, tmp_path / "photos", poses, size), tmp_path)[0].views[0].camera
    assert (camera.width, camera.height) == size
    assert float(camera.K[0, 0]) == pytest.approx(300 * size[0] / WIDTH)


def test_a_lens_that_folds_its_image_over_is_named(tmp_path: Path) -> None:
    made = synthesize("OPENCV", [300, 300, 160, 120, -3.0, 0.1, 0, 0])
    poses = posed_model.write_transforms(made, tmp_path / "t.json")
    with pytest.raises(
        InputError,
        match=r"frame000000.png: its lens: FULL_OPENCV \[300.0, .* is impossible: without distortion, .*--poses solve",
    ):
        run(as_photos(made, tmp_path / "photos", poses), tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("IMG_1.jpg", "IMG_1.jpg"),
        ("C:\\photos\\IMG_1.jpg", "IMG_1.jpg"),
        ("../x/./img_1.JPG", "IMG_1.jpg"),
        ("IMG_1", "IMG_1.jpg"),
        ("img_1.png", "IMG_1.jpg"),
        ("b.v2", "b.v2.png"),
        ("a.png", "a.png"),
        ("a.JPG", "a.jpg"),
        ("left/c.jpg", "left/c.jpg"),
        ("/data/right/c.jpg", "right/c.jpg"),
        ("IMG_11.jpg", None),
        ("MG_1.jpg", None),
        ("", None),
    ],
)
def test_names_are_matched_by_their_ends(name: str, meant: str | None) -> None:
    stored = ("IMG_1.jpg", "b.v2.png", "a.png", "a.jpg", "left/c.jpg", "right/c.jpg")
    names = PhotoNames([photo(n) for n in stored], Path("t.json"))
    found = names.find(name)
    assert (found and found.name) == meant
    assert names.size_of(name) == (None if meant is None else (40, 30))


@pytest.mark.parametrize("name", ["c.jpg", "middle/c.jpg", "C", "a"])
def test_a_name_that_means_several_photos_is_refused(name: str) -> None:
    names = PhotoNames([photo(n) for n in ("left/c.jpg", "right/c.jpg", "a.jpg", "a.png")], Path("t.json"))
    with pytest.raises(InputError, match=rf"t\.json: '{name}' could be any of (left/c.jpg, right/c.jpg|a.jpg, a.png)"):
        names.find(name)


def test_two_cameras_of_one_photo_are_refused(tmp_path: Path) -> None:
    made = synthesize("PINHOLE")
    poses = posed_model.write_colmap(made, tmp_path / "sparse", text=True)
    text = (poses / "images.txt").read_text()
    (poses / "images.txt").write_text(text.replace("camera000001_frame000003.png", "x/CAMERA000001_frame000004.png"))
    with pytest.raises(InputError, match=r"two of its frames mean the photo camera000001_frame000004.png: .* and "):
        run(as_photos(made, tmp_path / "photos", poses), tmp_path)


def check_read_as_pinholes(poses_path: Path, images: Path, tmp_path: Path) -> None:
    """The stage leaves photos and cameras as `recon render` reads them from the same file."""
    photos = []
    for path in sorted(images.iterdir()):
        with Image.open(path) as image:
            photos.append(photo(path.name, image_path=path, width=image.width, height=image.height))
    capture, warnings = run(Photos(photos=tuple(photos), poses_path=poses_path), tmp_path)
    assert warnings == [] and len(capture.views) == len(photos)
    frames = read_transforms_by_name(poses_path)
    for view in capture.views:
        camera = frames[Path(view.name).stem].camera
        torch.testing.assert_close(view.camera.K, camera.K)
        torch.testing.assert_close(view.camera.cam_from_world, camera.cam_from_world)
        assert view.image_path == images / view.name


def test_the_samples_poses_are_read_as_they_are(tmp_path: Path) -> None:
    sample = Path(__file__).parents[1] / "data" / "sample"
    check_read_as_pinholes(sample / "truth" / "transforms.json", sample / "photos", tmp_path)


def test_the_gold_capes_poses_are_read_as_they_are(recon_data: Path, tmp_path: Path) -> None:
    cape = recon_data / "real_gold_cape"
    check_read_as_pinholes(cape / "transforms.json", cape / "images", tmp_path)
