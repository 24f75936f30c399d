"""Photos, masks and poses are found by rule; held-out files are never opened."""

import os
from pathlib import Path

import pytest

from pipeline.discovery import NEVER_OPENED, Inputs, Source, discover
from pipeline.errors import InputError, UsageError


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def find(images: Path) -> Source:
    return discover(Inputs(images=(images,)))


def names(paths) -> list[str]:
    return [p.name for p in paths]


def test_the_folder_holds_the_photos(tmp_path: Path) -> None:
    put(tmp_path, "b.JPG", "a.jpeg", "c.png", "d.webp", "e.tif", "f.TIFF", "._a.jpg", ".a.png", "Thumbs.db", "x.mp4")
    source = find(tmp_path)
    assert names(source.photos) == ["a.jpeg", "b.JPG", "c.png", "d.webp", "e.tif", "f.TIFF"]
    assert source.folder == tmp_path
    assert source.ignored == ("._a.jpg", ".a.png", "Thumbs.db", "x.mp4")
    assert source.masks == {} and source.poses_path is None


def test_the_folder_is_the_parent_of_one_folder_of_photos(tmp_path: Path) -> None:
    put(tmp_path, "anything/a.jpg", "masks/a.png", "notes/readme.txt", "sparse/0/cameras.bin")
    source = find(tmp_path)
    assert source.folder == tmp_path / "anything" and names(source.photos) == ["a.jpg"]


def test_several_folders_of_photos_are_a_question_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 folders of photos: left, right \(name one of them\)"):
        find(put(tmp_path, "left/a.jpg", "right/a.jpg"))


def test_an_earlier_run_inside_the_folder_is_no_folder_of_photos(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "out/.lock", "out/preview.png")
    assert find(tmp_path).folder == tmp_path / "images"


@pytest.mark.parametrize("content", [(), ("notes.txt",), ("masks/a.png",), ("a/b/deep.jpg",)])
def test_no_photos_is_told_with_what_would_be_one(content: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no photos \(accepted: \.jpg, \.jpeg, \.png, \.webp, \.tif, \.tiff"):
        find(put(tmp_path, *content))


def test_missing_folders_and_files_are_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: does not exist.*--images DIR"):
        find(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"a\.jpg: is a file.*--images DIR"):
        find(put(tmp_path, "a.jpg") / "a.jpg")


@pytest.mark.parametrize("masks", ["images/masks", "masks", "images/mask", "mask"])
@pytest.mark.parametrize("named", ["", "images"], ids=["parent named", "photos named"])
def test_masks_lie_inside_or_beside_the_photos(masks: str, named: str, tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "images/b.JPG", "images/c.jpg", f"{masks}/a.png", f"{masks}/b.JPG.png")
    source = find(tmp_path / named)
    assert {p.name: m.name for p, m in source.masks.items()} == {"a.jpg": "a.png", "b.JPG": "b.JPG.png"}


def test_a_mask_with_the_whole_name_wins(tmp_path: Path) -> None:
    source = find(put(tmp_path, "a.jpg", "a.png", "masks/a.png", "masks/a.jpg.png"))
    assert {p.name: m.name for p, m in source.masks.items()} == {"a.jpg": "a.jpg.png", "a.png": "a.png"}


def test_masks_of_other_photos_are_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"masks: none of 2 masks is named like one of 1 photos, as in a\.png"):
        find(put(tmp_path, "a.jpg", "masks/x.png", "masks/y.png"))


@pytest.mark.parametrize("name", ["transforms.json", "transforms_train.json"])
def test_poses_lie_in_the_named_folder(name: str, tmp_path: Path) -> None:
    source = find(put(tmp_path, "train/a.png", name))
    assert source.poses_path == tmp_path / name


def test_the_best_of_several_files_of_poses_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    put(tmp_path, "train/a.png", "sparse/0/cameras.bin", "sparse/0/images.bin", "poses_bounds.npy", "transforms.json")
    source = find(tmp_path)
    assert source.poses_path == tmp_path / "transforms.json"
    assert source.other_poses == (tmp_path / "sparse" / "0", tmp_path / "poses_bounds.npy")


def test_named_poses_win_and_solve_reads_none(tmp_path: Path) -> None:
    put(tmp_path, "photos/a.png", "photos/transforms.json", "theirs/sparse/0/cameras.txt", "theirs/sparse/0/images.txt")
    put(tmp_path, "theirs/poses_bounds.npy", "empty/notes.txt")

    def named(poses: str, **more: bool) -> Source:
        return discover(Inputs(images=(tmp_path / "photos",), poses=tmp_path / poses if poses else None, **more))

    assert named("theirs/poses_bounds.npy").poses_path == tmp_path / "theirs/poses_bounds.npy"
    folder = named("theirs")
    assert folder.poses_path == tmp_path / "theirs/sparse/0"
    assert folder.other_poses == (tmp_path / "theirs/poses_bounds.npy",)
    assert named("", solve_poses=True).poses_path is None
    with pytest.raises(UsageError, match="nowhere: does not exist .*with --poses"):
        named("nowhere")
    with pytest.raises(InputError, match="empty: holds no poses .read are transforms.json, a COLMAP model"):
        named("empty")


def test_the_key_follows_every_file_of_a_model(tmp_path: Path) -> None:
    put(tmp_path, "a.png", *(f"sparse/0/{name}.bin" for name in ("cameras", "images", "points3D")))
    keys = [find(tmp_path).key()]
    for name in ("cameras", "images", "points3D"):
        (tmp_path / f"sparse/0/{name}.bin").write_text("changed")
        keys.append(find(tmp_path).key())
    assert len(set(keys)) == 4


def test_held_out_files_and_truth_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "train/a.png", "transforms_train.json", "transforms_test.json", "mesh.glb")
    for folder in ("test", "relit", "truth", "hdri", "exr", "test_gt"):
        assert folder in NEVER_OPENED
        put(tmp_path, f"{folder}/a.png", f"{folder.upper()}/a.png", f"{folder}/masks/a.png")
    opened: list[str] = []
    for method in (Path.iterdir, Path.open):

        def watched(self: Path, *rest: str, method=method):
            opened.append(self.relative_to(tmp_path).as_posix())
            return method(self, *rest)

        monkeypatch.setattr(Path, method.__name__, watched)
    source = find(tmp_path)
    source.key()
    assert set(opened) == {".", "train", "train/a.png", "transforms_train.json"}
    assert source.masks == {}


def test_the_key_follows_names_and_contents_and_nothing_else(tmp_path: Path) -> None:
    def key(root: str, *content: str) -> str:
        return find(put(tmp_path / root, *content)).key()

    first = key("one", "images/a.jpg", "masks/a.png", "transforms.json")
    assert first == key("two", "images/a.jpg", "masks/a.png", "transforms.json", "images/notes.txt")
    changed = [key("three", "images/a.jpg", "masks/a.png"), key("four", "images/a.jpg"), key("five", "images/b.jpg")]
    (tmp_path / "two" / "masks" / "a.png").write_text("other")
    changed.append(find(tmp_path / "two").key())
    assert len({first, *changed}) == 5


def test_names_that_are_not_utf8_pipes_and_dead_links_are_left_to_ingest(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dead.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    source = find(tmp_path)
    assert len(source.photos) == 6
    assert len(source.key()) == 64
