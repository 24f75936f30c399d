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


def find(*images: Path, recursive: bool = False, masks: Path | None = None) -> Source:
    return discover(Inputs(images=images, recursive=recursive, masks=masks))


def names(photos) -> list[str]:
    return [p.name for p in photos]


def masks_of(source: Source) -> dict[str, str]:
    return {p.name: p.mask.name for p in source.photos if p.mask}


def test_the_folder_holds_the_photos(tmp_path: Path) -> None:
    put(tmp_path, "b.JPG", "a.jpeg", "c.png", "d.webp", "e.tif", "f.TIFF", "._a.jpg", ".a.png", "Thumbs.db", "x.mp4")
    source = find(tmp_path)
    assert names(source.photos) == ["a.jpeg", "b.JPG", "c.png", "d.webp", "e.tif", "f.TIFF"]
    assert source.folder == tmp_path
    assert source.ignored == ("._a.jpg", ".a.png", "Thumbs.db", "x.mp4")
    assert masks_of(source) == {} and source.poses_path is None


def test_the_folder_is_the_parent_of_one_folder_of_photos(tmp_path: Path) -> None:
    put(tmp_path, "anything/a.jpg", "masks/a.png", "notes/readme.txt", "sparse/0/cameras.bin")
    source = find(tmp_path)
    assert source.folder == tmp_path / "anything" and names(source.photos) == ["a.jpg"]


def test_several_folders_of_photos_are_a_question_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 folders of photos: left, right \(name one of them; --recursive takes all"):
        find(put(tmp_path, "left/a.jpg", "right/a.jpg"))


def test_an_earlier_run_inside_the_folder_is_no_folder_of_photos(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "out/.lock", "out/preview.png")
    assert find(tmp_path).folder == tmp_path / "images"


@pytest.mark.parametrize("content", [(), ("notes.txt",), ("masks/a.png",)])
def test_no_photos_is_told_with_what_would_be_one(content: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no photos \(accepted: \.jpg, \.jpeg, \.png, \.webp, \.tif, \.tiff"):
        find(put(tmp_path, *content))


def test_photos_deeper_down_need_a_word(tmp_path: Path) -> None:
    put(tmp_path, "a/b/deep.jpg")
    with pytest.raises(InputError, match=r"holds no photos, but a/b does \(add --recursive, or name it\)"):
        find(tmp_path)
    assert names(find(tmp_path, recursive=True).photos) == ["deep.jpg"]


def test_recursion_takes_every_folder_but_those_of_masks_benchmarks_and_runs(tmp_path: Path) -> None:
    put(tmp_path, "b.jpg", "one/a.jpg", "one/c.jpg", "two/a.jpg", "two/deep/d.jpg", "two/notes.txt", ".hidden/h.jpg")
    put(tmp_path, "masks/one/a.png", "masks/two/a.png", "masks/c.png", "truth/t.jpg", "run/.lock", "run/preview.png")
    (tmp_path / "elsewhere").symlink_to("/")
    source = find(tmp_path, recursive=True)
    assert names(source.photos) == ["b.jpg", "one/a.jpg", "c.jpg", "two/a.jpg", "d.jpg"]
    assert {p.name: p.mask.relative_to(tmp_path).as_posix() for p in source.photos if p.mask} == {
        "one/a.jpg": "masks/one/a.png",
        "c.jpg": "masks/c.png",
        "two/a.jpg": "masks/two/a.png",
    }
    assert source.ignored == ("elsewhere", "two/notes.txt")


def test_each_folder_that_is_named_is_a_pass(tmp_path: Path) -> None:
    put(
        tmp_path, "up/a.jpg", "up/b.jpg", "up/masks/a.png", "down/images/a.jpg", "down/images/c.jpg", "down/masks/a.png"
    )
    source = find(tmp_path / "up", tmp_path / "down")
    assert [(p.name, p.light_index) for p in source.photos] == [
        ("up/a.jpg", 0),
        ("b.jpg", 0),
        ("down/images/a.jpg", 1),
        ("c.jpg", 1),
    ]
    assert [p.mask and p.mask.parent.parent.name for p in source.photos] == ["up", None, "down", None]
    assert source.key() != find(tmp_path / "down", tmp_path / "up").key()
    with pytest.raises(UsageError, match="two --images name one folder"):
        find(tmp_path / "up", tmp_path / "up" / ".")


def test_photos_of_two_passes_with_like_paths_keep_distinct_names(tmp_path: Path) -> None:
    put(tmp_path, "one/images/a.jpg", "two/images/a.jpg")
    found = names(find(tmp_path / "one" / "images", tmp_path / "two" / "images").photos)
    assert found == [str(tmp_path / k / "images" / "a.jpg") for k in ("one", "two")]


def test_masks_may_lie_among_the_photos_and_are_no_photos_then(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a_mask.png", "B.JPG", "B_MASK.png", "welding_mask.jpg", "c.jpg")
    source = find(tmp_path)
    assert names(source.photos) == ["B.JPG", "a.jpg", "c.jpg", "welding_mask.jpg"]
    assert masks_of(source) == {"a.jpg": "a_mask.png", "B.JPG": "B_MASK.png"}
    put(tmp_path, "masks/a.png")
    assert masks_of(find(tmp_path)) == {"a.jpg": "a.png", "B.JPG": "B_MASK.png"}


def test_a_folder_of_masks_can_be_named(tmp_path: Path) -> None:
    put(tmp_path, "photos/a.jpg", "photos/b.jpg", "photos/masks/b.png", "cut/a_mask.png", "cut/z.png")
    source = find(tmp_path / "photos", masks=tmp_path / "cut")
    assert masks_of(source) == {"a.jpg": "a_mask.png"} and source.unmatched_masks == ("z.png",)
    with pytest.raises(UsageError, match="nowhere: does not exist.*--masks DIR"):
        find(tmp_path / "photos", masks=tmp_path / "nowhere")


def test_a_mask_that_two_photos_could_own_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.tif", "masks/a.png")
    with pytest.raises(InputError, match=r"masks/a\.png: could be the mask of a\.jpg and of a\.tif.*a\.jpg\.png"):
        find(tmp_path)


def test_links_are_followed_inside_the_folder_only(tmp_path: Path) -> None:
    put(tmp_path, "secret.jpg", "photos/a.jpg", "photos/masks/a.png")
    for name, target in (("b.jpg", "a.jpg"), ("c.jpg", "../secret.jpg"), ("d.jpg", "nowhere"), ("e.jpg", "e.jpg")):
        (tmp_path / "photos" / name).symlink_to(target)
    refused = {p.name: p.refused for p in find(tmp_path / "photos").photos}
    assert refused["a.jpg"] == refused["b.jpg"] == ""
    assert "leads out of the folder, to " in refused["c.jpg"] and "secret.jpg; copy" in refused["c.jpg"]
    assert "leads nowhere" in refused["d.jpg"] and "in a circle" in refused["e.jpg"]
    (tmp_path / "photos" / "masks" / "a.png").unlink()
    (tmp_path / "photos" / "masks" / "a.png").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(InputError, match=r"masks/a\.png: is a link that leads out"):
        find(tmp_path / "photos")


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
    assert masks_of(source) == {"a.jpg": "a.png", "b.JPG": "b.JPG.png"}


def test_a_mask_with_the_whole_name_wins(tmp_path: Path) -> None:
    source = find(put(tmp_path, "a.jpg", "a.png", "masks/a.png", "masks/a.jpg.png"))
    assert masks_of(source) == {"a.jpg": "a.jpg.png", "a.png": "a.png"}


def test_masks_of_other_photos_are_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"masks: none of 2 masks \(x\.png, \.\.\.\) is named like one of 1 photos, as in a\.png"
    ):
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
    assert masks_of(source) == {}


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
