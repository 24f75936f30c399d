"""Damaged and hostile files of poses: an error that names the file and the reason, and nothing else, ever."""

import pickle
import re
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.formats.pose_files import files_of, read_poses
from tests import posed_model
from tests.posed_model import HEIGHT, WIDTH, synthesize

MUTATIONS = 300  # of each file


def read(path: Path):
    names = [f"camera000001_frame00000{k}.png" for k in range(8)]
    return read_poses(path, size_of=lambda name: (WIDTH, HEIGHT), names=names)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One undamaged file of each format, all of the same cameras."""
    folder = tmp_path_factory.mktemp("whole")
    made = synthesize("OPENCV", [300, 300, 160, 120, -0.1, 0.05, 0.002, -0.001])
    plain = synthesize("SIMPLE_PINHOLE")
    return {
        "binary": posed_model.write_colmap(made, folder / "bin", text=False),
        "text": posed_model.write_colmap(made, folder / "txt", text=True),
        "transforms": posed_model.write_transforms(made, folder / "transforms.json"),
        "llff": posed_model.write_llff(plain, folder / "poses_bounds.npy"),
        "metashape": posed_model.write_metashape(made, folder / "metashape.xml"),
        "table": posed_model.write_realityscan_table(made, folder / "cameras.csv"),
        "xmp": posed_model.write_realityscan_xmp(made, folder / "xmp"),
    }


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """A file that went through a bad disk, a bad connection or bad hands."""
    place = int(random.integers(len(data)))
    kind = random.integers(6)
    if kind == 0:
        return data[:place]
    if kind == 1:
        changed = bytearray(data)
        for where in random.integers(0, len(data), 1 + int(random.integers(8))):
            changed[where] = random.integers(256)
        return bytes(changed)
    if kind == 2:
        return data[:place] + data[place + 1 + int(random.integers(64)) :]
    if kind == 3:
        return data[:place] + data[place : place + 200] + data[place:]
    if kind == 4:
        junk = (b"\xff" * 8, b"\0" * 8, b"nan", b"-inf", b"1e999", b"-1", b"99999999999999999999", b"<", b'"', b"[")
        return data[:place] + junk[random.integers(len(junk))] + data[place + int(random.integers(9)) :]
    found = list(re.finditer(rb"-?\d+\.\d+", data))
    if not found:
        return data + data[:1]
    match = found[random.integers(len(found))]
    values = (b"nan", b"inf", b"0", b"-1e30", b"1e308", b"x", b"")
    return data[: match.start()] + values[random.integers(len(values))] + data[match.end() :]


@pytest.mark.parametrize("kind", ["binary", "text", "transforms", "llff", "metashape", "table", "xmp"])
def test_whatever_is_in_a_file_it_is_read_or_refused(kind: str, whole: dict[str, Path], tmp_path: Path) -> None:
    source = whole[kind]
    files = [(path.relative_to(source.parent), path.read_bytes()) for path in files_of(source)]
    target = tmp_path / source.name
    refused = 0
    for seed in range(MUTATIONS):
        random = np.random.default_rng(seed)
        chosen = int(random.integers(len(files)))
        for index, (name, data) in enumerate(files):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(mutated(data, random) if index == chosen else data)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                given = read(target)
            except InputError as error:
                refused += 1
                assert error.path is not None and Path(error.path).is_relative_to(tmp_path), str(error)
                assert "\n" not in str(error) and len(str(error)) < 600
                continue
        assert all(bool(camera.cam_from_world.isfinite().all()) for camera in given.cameras)
        assert bool(given.points.isfinite().all())
    assert refused > MUTATIONS / 4


def damaged(whole: dict[str, Path], kind: str, tmp_path: Path, change: Callable[[Path], None]) -> str:
    """What is said about a copy of a whole file after `change`."""
    source = whole[kind]
    for path in files_of(source):
        copy = tmp_path / path.relative_to(source.parent)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    change(tmp_path / source.name)
    with pytest.raises(InputError) as caught:
        read(tmp_path / source.name)
    assert caught.value.exit_code == 3
    return str(caught.value)


def replace(old: str, new: str, name: str = "") -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path = path / name if name else path
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def patch(name: str, offset: int, layout: str, value: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = bytearray((path / name).read_bytes())
        struct.pack_into(layout, data, offset, value)
        (path / name).write_bytes(bytes(data))

    return change


def cut(name: str, share: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = (path / name if name else path).read_bytes()
        (path / name if name else path).write_bytes(data[: int(len(data) * share)])

    return change


def overwrite(content: bytes, name: str = "") -> Callable[[Path], None]:
    return lambda path: (path / name if name else path).write_bytes(content) and None


BOMB = b"""<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<document><chunk>&b;</chunk></document>"""
OUTSIDE = b'<!DOCTYPE d SYSTEM "file:///etc/passwd"><document><chunk/></document>'
FRAME0 = "camera000001_frame000000"


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("binary", cut("images.bin", 0.5), "images.bin: (ends at byte|claims)"),
        ("binary", cut("cameras.bin", 0.9), "cameras.bin: camera 1: ends at byte 86, .* truncated"),
        ("binary", patch("images.bin", 0, "<Q", 2**63), r"images.bin: claims 9223372036854775808 records.*room for \d"),
        ("binary", patch("points3D.bin", 0, "<Q", 2**40), "points3D.bin: claims 1099511627776 records"),
        ("binary", patch("points3D.bin", 0, "<Q", 3), "points3D.bin: goes on for .* after its last record"),
        ("binary", patch("points3D.bin", 16, "<d", float("nan")), "points3D.bin: its points: point 0 is not finite"),
        ("binary", patch("cameras.bin", 12, "<i", 99), "cameras.bin: camera 1: has the model number 99"),
        ("binary", patch("cameras.bin", 16, "<Q", 2**62), "cameras.bin: camera 1: is 4611686018427387904 x 240 px"),
        ("binary", patch("cameras.bin", 32, "<d", -300), "cameras.bin: camera 1: focal length -300 px"),
        ("binary", patch("cameras.bin", 8, "<I", 7), "images.bin: image .*has the camera 1, which is not in"),
        ("binary", overwrite(bytes(8), "images.bin"), "images.bin: holds no images"),
        ("text", replace("OPENCV", "OPENVC", "cameras.txt"), "cameras.txt: line 4: has the model 'OPENVC'"),
        (
            "text",
            replace(" 320 240 ", " 320 240 240 ", "cameras.txt"),
            "line 4: has 9 parameters, OPENCV needs 8",
        ),
        (
            "text",
            replace(f"1 {FRAME0}.png\n", f"1 {FRAME0}.png\n9 1 0 0 0 0 0 0 1 x.png\n", "images.txt"),
            "followed by 10",
        ),
        ("text", overwrite(b"1 0 0 x 0 0 0 1\n", "points3D.txt"), "points3D.txt: line 1: the position = 'x' is not a"),
        ("text", overwrite(b"1 0 0 0 0 0 300 1\n", "points3D.txt"), "line 1: has the colour 300, at most 255"),
        (
            "text",
            overwrite(b"1 0 0 0 0 0 0 0 1 a.jpg\n\n", "images.txt"),
            "a.jpg: its quaternion has the length 0",
        ),
        ("transforms", cut("", 0.7), "transforms.json: is not valid JSON"),
        ("transforms", replace('"k1"', '"k4"'), f"frame 0 .{FRAME0}.: k4 = -0.1 cannot be undistorted"),
        ("transforms", replace('"OPENCV"', '"EQUIRECTANGULAR"'), "camera_model = 'EQUIRECTANGULAR' is not read"),
        ("transforms", replace('"w": 320', '"w": 320, "val_filenames": "x"'), "val_filenames is no list of names"),
        (
            "transforms",
            replace('"w": 320', '"w": 320, "applied_transform": [[1,0,0,0],[0,1,0,0],[0,0,-1,0]]'),
            "applied_transform: it is not a rotation: .*det -1.000.*mirrored",
        ),
        ("llff", cut("", 0.5), "poses_bounds.npy: is no NumPy array"),
        ("llff", overwrite(pickle.dumps([1])), "poses_bounds.npy: is no NumPy array"),
        ("llff", lambda path: np.save(path, np.zeros((8, 16))), r"holds float64 \(8, 16\), not rows of 17"),
        ("llff", lambda path: np.save(path, np.array([{}] * 8)), "holds object"),
        ("llff", lambda path: np.save(path, np.zeros((0, 17))), "holds no cameras"),
        ("llff", lambda path: np.save(path, np.zeros((8, 17))), f"row 0 .{FRAME0}.png.: is 0 x 0 px"),
        ("llff", lambda path: np.save(path, -np.load(path)), "row 0 .*: is -320 x -240 px"),
        ("llff", lambda path: np.save(path, np.load(path) * ([1, 1, -1, 1, 1] * 3 + [1, 1])), "row 0 .*mirrored"),
        ("metashape", cut("", 0.5), "metashape.xml: is no XML: "),
        ("metashape", overwrite(BOMB), "metashape.xml: declares a document type"),
        ("metashape", overwrite(OUTSIDE), "metashape.xml: declares a document type"),
        ("metashape", overwrite(b"<a>" * 1000), "metashape.xml: is nested deeper than 100"),
        ("metashape", overwrite(b"<document><chunk/></document>"), "holds no cameras of Metashape .*Export Cameras"),
        (
            "metashape",
            replace('class="adjusted"><resolution', 'class="adjusted"><k4>1</k4><resolution'),
            "k4 = 1 cannot",
        ),
        ("metashape", replace('type="frame"', 'type="spherical"'), "its sensor is of the type 'spherical'"),
        ("metashape", replace('sensor_id="3"', 'sensor_id="33"'), "frame000003': its sensor '33' is not in the file"),
        ("metashape", replace("<scale>0.4", "<scale>0"), f"camera '{FRAME0}': the component's scale is 0"),
        ("metashape", replace("transform>", "transfer>"), "none of its 9 cameras is aligned"),
        (
            "table",
            replace("heading", "hading"),
            "has no line that names the columns .*needed: name,x,y,alt",
        ),
        ("table", replace(f"{FRAME0}.png,", f"{FRAME0}.png,1,"), "camera 1 .*: has 17 values for 16 columns"),
        ("table", overwrite(b"\xff\xfe"), "cameras.csv: is no UTF-8 text"),
        ("table", overwrite(b"#name,x,y,alt,heading,pitch,roll,f\n"), "cameras.csv: holds no cameras"),
        (
            "table",
            overwrite(b"#name,x,y,alt,heading,pitch,roll,f\na,1,2,nan,0,0,0,24\n"),
            "1 .a.: alt = 'nan' is",
        ),
        (
            "xmp",
            replace("brown3t2", "division", f"{FRAME0}.xmp"),
            "its camera: has the distortion model 'division'",
        ),
        ("xmp", replace('Skew="0"', 'Skew="1"', f"{FRAME0}.xmp"), "has skew, or pixels that are not square"),
        ("xmp", replace("<xcr:Position>", "<xcr:Position>1 ", f"{FRAME0}.xmp"), "Position has 4 numbers instead of 3"),
        ("xmp", replace("FocalLength35mm", "FocalLength", f"{FRAME0}.xmp"), "FocalLength35mm = 'None' is not a finite"),
        ("xmp", replace("<x:xmpmeta", "<!DOCTYPE x><x:xmpmeta", f"{FRAME0}.xmp"), "declares a document type"),
    ],
)
def test_damage_is_told(kind: str, change, message: str, whole: dict[str, Path], tmp_path: Path) -> None:
    told = damaged(whole, kind, tmp_path, change)
    assert re.search(message, told), told


def test_mirrored_poses_are_refused(whole: dict[str, Path], tmp_path: Path) -> None:
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])

    def change(path: Path) -> None:
        def mirrored(match: re.Match) -> str:
            matrix = np.array(match[1].split(), float).reshape(4, 4) @ mirror
            return f"<transform>{' '.join(map(repr, matrix.ravel().tolist()))}</transform></camera>"

        path.write_text(re.sub(r"<transform>([^<]*)</transform></camera>", mirrored, path.read_text()))

    told = damaged(whole, "metashape", tmp_path, change)
    assert re.search(f"camera '{FRAME0}': its transform is not a rotation: .*det -1.000 .*mirrored", told)


def test_a_header_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 17), }"
    header = header.ljust(117) + b"\n"
    (tmp_path / "p.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(InputError, match=r"p.npy: holds float64 \(100000000000, 17\), not rows of 17 floats"):
        read(tmp_path / "p.npy")
