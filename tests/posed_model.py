"""A model that COLMAP made, and small writers of the formats of other programs.

The writers follow the vendors' documents and share no code with the readers: each starts from COLMAP's own pose and
parameters. Tests that import this module run pycolmap in their own process.
"""

import json
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pycolmap
from scipy.spatial.transform import Rotation

WIDTH, HEIGHT = 320, 240
LENSES = {
    "SIMPLE_PINHOLE": [300, 160, 120],
    "PINHOLE": [300, 305, 158, 123],
    "SIMPLE_RADIAL": [300, 158, 123, -0.1],
    "RADIAL": [300, 158, 123, -0.1, 0.05],
    "OPENCV": [300, 305, 158, 123, -0.1, 0.05, 0.002, -0.001],
    "FULL_OPENCV": [300, 305, 158, 123, -0.1, 0.05, 0.002, -0.001, 0.02, 0.01, 0.02, 0.005],
    "OPENCV_FISHEYE": [300, 305, 158, 123, -0.05, 0.02, 0.01, -0.005],
    "SIMPLE_RADIAL_FISHEYE": [300, 158, 123, -0.05],
    "RADIAL_FISHEYE": [300, 158, 123, -0.05, 0.01],
    "FOV": [300, 305, 158, 123, 0.3],
    "THIN_PRISM_FISHEYE": [300, 305, 158, 123, -0.05, 0.02, 0.002, -0.001, 0.01, -0.005, 0.001, 0.002],
    "RAD_TAN_THIN_PRISM_FISHEYE": [
        300,
        305,
        158,
        123,
        *[0.01, -0.02, 0.01, 0, 0, 0],
        *[0.002, -0.001, 1e-3, 2e-3, -1e-3, 1e-3],
    ],
    "SIMPLE_DIVISION": [300, 158, 123, -0.05],
    "DIVISION": [300, 305, 158, 123, -0.05],
    "SIMPLE_FISHEYE": [300, 158, 123],
    "FISHEYE": [300, 305, 158, 123],
    "EUCM": [300, 305, 158, 123, 0.5, 1.1],
}
CAM_FROM_GL_CAM = np.diag([1.0, -1.0, -1.0])


def synthesize(model: str = "OPENCV", params: list[float] | None = None) -> pycolmap.Reconstruction:
    """Eight cameras around 60 points, in a frame of no particular scale and orientation."""
    pycolmap.set_random_seed(1)
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs = options.num_cameras_per_rig = 1
    options.num_frames_per_rig, options.num_points3D = 8, 60
    options.camera_width, options.camera_height = WIDTH, HEIGHT
    options.camera_model_id = pycolmap.CameraModelId.__members__[model]
    options.camera_params = params or LENSES[model]
    made = pycolmap.synthesize_dataset(options)
    turn = pycolmap.Rotation3d(Rotation.from_euler("xyz", [0.3, -0.8, 2.0]).as_quat())
    made.transform(pycolmap.Sim3d(1.7, turn, np.array([0.5, -2.0, 3.0])))
    colors = np.random.default_rng(0).integers(0, 256, (len(made.points3D), 3), np.uint8)
    for point, color in zip(made.points3D.values(), colors, strict=True):
        point.color = color
    return made


def observations(made: pycolmap.Reconstruction) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each image, the points that it sees and the pixels at which pycolmap projects them."""
    seen = {}
    for image in made.images.values():
        points = [made.points3D[p.point3D_id].xyz for p in image.points2D if p.has_point3D()]
        seen[image.name] = (np.array(points), np.array([image.project_point(p) for p in points]))
    return seen


def write_colmap(made: pycolmap.Reconstruction, folder: Path, *, text: bool) -> Path:
    folder.mkdir(parents=True)
    (made.write_text if text else made.write_binary)(folder)
    return folder


def poses(made: pycolmap.Reconstruction) -> list[tuple[str, np.ndarray, np.ndarray, list[float]]]:
    """Name, rotation and centre (world from camera), and parameters of each image, sorted by name."""
    found = []
    for image in sorted(made.images.values(), key=lambda i: i.name):
        pose = image.cam_from_world().inverse()
        found.append(
            (image.name, pose.rotation.matrix(), pose.translation, made.cameras[image.camera_id].params.tolist())
        )
    return found


def write_transforms(made: pycolmap.Reconstruction, path: Path, *, fisheye: bool = False, **shared: object) -> Path:
    """`shared` goes to the top level."""
    frames = []
    for name, rotation, center, (fx, fy, cx, cy, *bent) in poses(made):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation @ CAM_FROM_GL_CAM, center
        keys = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2")
        intrinsics = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, **dict(zip(keys, bent, strict=False))}
        frames.append({"file_path": f"./images/{name}", **intrinsics, "transform_matrix": matrix.tolist()})
    model = "OPENCV_FISHEYE" if fisheye else "OPENCV"
    path.write_text(json.dumps({"camera_model": model, "w": WIDTH, "h": HEIGHT, **shared, "frames": frames}))
    return path


def write_llff(made: pycolmap.Reconstruction, path: Path) -> Path:
    """Axes down, right, back; no distortion, the principal point in the middle."""
    rows = []
    for _, rotation, center, (focal, *_) in poses(made):
        right, down, forward = rotation.T
        matrix = np.stack([down, right, -forward, center, [HEIGHT, WIDTH, focal]], axis=1)
        rows.append([*matrix.ravel(), 0.1, 10.0])
    np.save(path, np.array(rows))
    return path


def write_metashape(made: pycolmap.Reconstruction, path: Path, *, fisheye: bool = False) -> Path:
    """The chunk's frame is another one than the world, and a last camera was not aligned."""
    scale, turn, shift = 0.4, Rotation.from_euler("xyz", [1.0, 0.2, -0.7]).as_matrix(), np.array([3.0, 1.0, -2.0])
    cameras, sensors = [], []
    for k, (name, rotation, center, (fx, fy, cx, cy, *bent)) in enumerate(poses(made)):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn.T @ rotation, turn.T @ (center - shift) / scale
        k1, k2, k3, k4 = bent if fisheye else (bent[0], bent[1], 0.0, 0.0)
        p1, p2 = (0.0, 0.0) if fisheye else (bent[3], bent[2])
        values = {"f": fy, "cx": cx - WIDTH / 2, "cy": cy - HEIGHT / 2, "b1": fx - fy}
        values |= {"k1": k1, "k2": k2, "k3": k3, "k4": k4, "p1": p1, "p2": p2}
        kind = "fisheye" if fisheye else "frame"
        body = "".join(f"<{key}>{value!r}</{key}>" for key, value in values.items() if value)
        sensors.append(
            f'<sensor id="{k}" type="{kind}"><resolution width="{WIDTH}" height="{HEIGHT}"/>'
            f'<calibration type="{kind}" class="initial"><f>1</f></calibration>'
            f'<calibration type="{kind}" class="adjusted"><resolution width="{WIDTH}" height="{HEIGHT}"/>{body}'
            "</calibration></sensor>"
        )
        cameras.append(
            f'<camera id="{k}" sensor_id="{k}" component_id="0" label={quoteattr(name.rpartition(".")[0])}>'
            f"<transform>{' '.join(map(repr, matrix.ravel().tolist()))}</transform></camera>"
        )
    cameras.append('<camera id="99" sensor_id="0" label="not aligned"/>')
    component = (
        f"<rotation>{' '.join(map(repr, turn.ravel().tolist()))}</rotation>"
        f"<translation>{' '.join(map(repr, shift.tolist()))}</translation><scale>{scale}</scale>"
    )
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?><document version="2.0.0"><chunk label="Chunk 1" enabled="true">'
        f"<sensors>{''.join(sensors)}</sensors><components>"
        f'<component id="0"><transform>{component}</transform></component></components>'
        f"<cameras>{''.join(cameras)}</cameras></chunk></document>"
    )
    return path


def write_realityscan_table(made: pycolmap.Reconstruction, path: Path) -> Path:
    lines = ["#cameras 8", "#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2"]
    for name, rotation, center, (fx, _, cx, cy, *bent) in poses(made):
        yaw, pitch, roll = Rotation.from_matrix(rotation @ CAM_FROM_GL_CAM).as_euler("ZXY", degrees=True)
        k1, k2, t1, t2 = bent
        film = (fx * 36 / WIDTH, (cx - WIDTH / 2) / WIDTH, (cy - HEIGHT / 2) / WIDTH)
        values = (*center, -yaw, pitch, roll, *film, k1, k2, 0.0, 0.0, t1, t2)
        lines.append(",".join([name, *(repr(float(v)) for v in values)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_realityscan_xmp(made: pycolmap.Reconstruction, folder: Path) -> Path:
    folder.mkdir()
    for name, rotation, center, (fx, _, cx, cy, *bent) in poses(made):
        attributes = {
            "DistortionModel": "brown3t2",
            "FocalLength35mm": fx * 36 / WIDTH,
            "Skew": 0,
            "AspectRatio": 1,
            "PrincipalPointU": (cx - WIDTH / 2) / WIDTH,
            "PrincipalPointV": (cy - HEIGHT / 2) / WIDTH,
        }
        bent = [bent[0], bent[1], 0.0, 0.0, bent[2], bent[3]]
        (folder / f"{name.rpartition('.')[0]}.xmp").write_text(
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description xmlns:xcr="http://www.capturingreality.com/ns/xcr/1.1#" '
            + " ".join(f'xcr:{key}="{value}"' for key, value in attributes.items())
            + f"><xcr:Rotation>{' '.join(map(repr, rotation.T.ravel().tolist()))}</xcr:Rotation>"
            f"<xcr:Position>{' '.join(map(repr, center.tolist()))}</xcr:Position>"
            f"<xcr:DistortionCoeficients>{' '.join(map(repr, bent))}</xcr:DistortionCoeficients>"
            "</rdf:Description></rdf:RDF></x:xmpmeta>"
        )
    return folder
