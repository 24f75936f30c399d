"""Checks an exported run in a renderer that is not ours: do its GLB, cameras and light mean what they should?

    python scripts/check_export.py RUN_DIR --renderer mitsuba --views 6 --out DIR
    python scripts/check_export.py RUN_DIR --renderer mitsuba --turntable 4 --swap-light courtyard.hdr --out DIR
    python scripts/check_export.py MARKERS --write-markers
    BLENDER_PYTHON scripts/check_export.py MARKERS --renderer blender --spots --out DIR

Views are rendered as PNG with a transparent background and compared with the run's own renders (`--own`, by default
RUN_DIR/export/render; straight alpha, named like the photos) inside both masks: PSNR, overlap, and the ratio of mean
linear colours. Cycles agrees best: Mitsuba's `principled` reflects some 5 % more from rough paint than Lambert's law.
Only numpy and Pillow are needed beside the renderer, so that Blender's Python can run it as well.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))
from export_markers import check_chart, check_mirror, write_markers

SIDES = ("front", "right", "back", "left")


def main() -> int:
    """Run the checks that the command line asks for; 1 when a marker is wrong, else 0."""
    arguments = _parse_arguments()
    folder: Path = arguments.run_dir
    if arguments.write_markers:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        write_markers(folder)
        return 0
    out: Path = arguments.out or folder / "check"
    out.mkdir(parents=True, exist_ok=True)
    if arguments.spots:
        return check_markers(arguments, out)
    renderer = load_renderer(arguments, folder / "asset.glb")
    if arguments.views:
        compare_views(renderer, arguments, out)
    if arguments.turntable:
        sheet = turntable(renderer, arguments)
        Image.fromarray(sheet).save(out / f"turntable_{arguments.renderer}.png")
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, help="folder with asset.glb, cameras.json and light.hdr")
    parser.add_argument("--renderer", choices=("mitsuba", "blender"), default="mitsuba")
    parser.add_argument("--out", type=Path, help="where pictures go (default: RUN_DIR/check)")
    parser.add_argument("--own", type=Path, help="our own renders (default: RUN_DIR/export/render)")
    parser.add_argument("--views", type=int, default=0, help="how many cameras to render, evenly spread")
    parser.add_argument(
        "--turntable", type=int, default=0, help="sides to show on a contact sheet (4: front, right ...)"
    )
    parser.add_argument("--swap-light", type=Path, action="append", default=[], help="another light for a further row")
    parser.add_argument("--swap-strength", type=float, default=1.0, help="factor on the swapped lights")
    parser.add_argument("--size", type=int, default=512, help="longest side of a picture in pixels")
    parser.add_argument("--samples", type=int, default=64, help="paths per pixel")
    parser.add_argument("--max-depth", type=int, default=5, help="longest path; 2 is direct light alone")
    parser.add_argument("--write-markers", action="store_true", help="write the marker assets into RUN_DIR and stop")
    parser.add_argument("--spots", action="store_true", help="check the marker assets in RUN_DIR")
    return parser.parse_args()


def load_renderer(arguments: argparse.Namespace, glb: Path) -> Any:  # noqa: ANN401  # either of two classes
    """The asset in the chosen renderer; imported here because Mitsuba and bpy live in different Pythons."""
    if arguments.renderer == "mitsuba":
        from render_mitsuba import MitsubaRenderer as Renderer
    else:
        from render_blender import BlenderRenderer as Renderer
    return Renderer(glb, max_depth=arguments.max_depth)


def read_cameras(path: Path, size_px: int) -> dict[str, dict[str, Any]]:
    """Cameras of a cameras.json by photo stem, scaled so that their longest side is at most `size_px`."""
    document = json.loads(path.read_text(encoding="utf-8"))
    cameras = {}
    for frame in document["frames"]:
        values = {**document, **frame}
        if abs(values["fl_x"] / values["fl_y"] - 1) > 0.005:
            raise SystemExit(f"{frame['file_path']}: pixels are not square, which neither renderer is set up for")
        scale = min(1.0, size_px / max(values["w"], values["h"]))
        width, height = round(values["w"] * scale), round(values["h"] * scale)
        cameras[Path(frame["file_path"]).stem] = {
            "w": width,
            "h": height,
            **{key: values[key] * width / values["w"] for key in ("fl_x", "cx")},
            **{key: values[key] * height / values["h"] for key in ("fl_y", "cy")},
            "pose": np.array(frame["transform_matrix"], float),
        }
    return cameras


def compare_views(renderer: Any, arguments: argparse.Namespace, out: Path) -> None:  # noqa: ANN401
    """Render some of the run's cameras under its light; print how they compare with the run's own renders."""
    folder: Path = arguments.run_dir
    own_folder: Path = arguments.own or folder / "export" / "render"
    cameras = read_cameras(folder / "cameras.json", arguments.size)
    names = [name for name in cameras if (own_folder / f"{name}.png").is_file()] or list(cameras)
    picked = sorted({round((i + 0.5) * len(names) / arguments.views - 0.5) for i in range(arguments.views)})
    renderer.set_light(folder / "light.hdr")
    figures = []
    for name in (names[i] for i in picked if 0 <= i < len(names)):
        picture = renderer.render(cameras[name], samples=arguments.samples)
        Image.fromarray(png_from_linear(picture)).save(out / f"{name}.png")
        own_path = own_folder / f"{name}.png"
        if not own_path.is_file():
            print(f"{name}: rendered, no own render at {own_path}")
            continue
        own = linear_from_png(Image.open(own_path), picture.shape[:2])
        figures.append(compare(own, picture))
        print(f"{name}: PSNR {figures[-1][0]:.2f} dB, overlap {figures[-1][1]:.4f}, ratio {figures[-1][2:].round(3)}")
        difference = 4 * np.abs(over(own, 1.0).astype(int) - over(picture, 1.0)).clip(0, 63)
        panels = [over(own, 1.0), over(picture, 1.0), difference.astype(np.uint8)]
        Image.fromarray(np.concatenate(panels, 1)).save(out / f"compare_{name}.png")
    if figures:
        mean = np.mean(figures, 0)
        print(f"mean of {len(figures)}: PSNR {mean[0]:.2f} dB, overlap {mean[1]:.4f}, ratio {mean[2:].round(3)}")


def compare(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """PSNR in sRGB inside both masks, overlap of the masks, and own / other of the mean linear colour."""
    masks = own[..., 3] > 0.5, other[..., 3] > 0.5
    both = masks[0] & masks[1]
    one, two = (straight(picture)[both] for picture in (own, other))
    error = float(np.mean((srgb(one) - srgb(two)) ** 2)) if both.any() else 1.0
    overlap = both.sum() / max((masks[0] | masks[1]).sum(), 1)
    ratio = one.clip(0, 1).mean(0) / np.maximum(two.clip(0, 1).mean(0), 1e-9) if both.any() else np.zeros(3)
    return np.array([-10 * np.log10(max(error, 1e-12)), overlap, *ratio])


def turntable(renderer: Any, arguments: argparse.Namespace) -> np.ndarray:  # noqa: ANN401
    """A contact sheet: a row per light (the run's own, then the swapped ones), a column per side, 15 degrees up."""
    sheet = []
    lights = [(arguments.run_dir / "light.hdr", 1.0)]
    lights += [(path, arguments.swap_strength) for path in arguments.swap_light]
    for light, strength in lights:
        renderer.set_light(light, strength)
        cameras = turntable_cameras(renderer.bounds, arguments.turntable, arguments.size)
        row = [over(renderer.render(camera, samples=arguments.samples), 0.8) for camera in cameras]
        sheet.append(np.concatenate(row, 1))
    return np.concatenate(sheet)


def turntable_cameras(bounds: np.ndarray, count: int, size_px: int) -> list[dict[str, Any]]:
    """Cameras around a box (2, 3) in glTF's frame, starting at its front (+Z) and going on to its right (+X)."""
    centre, radius = bounds.mean(0), float(np.linalg.norm(np.ptp(bounds, 0))) / 2
    elevation, distance = np.radians(15), 4 * radius
    cameras = []
    for angle in 2 * np.pi * np.arange(count) / count:
        level = np.cos(elevation)
        back = np.array([level * np.sin(angle), np.sin(elevation), level * np.cos(angle)])
        right = np.array([np.cos(angle), 0.0, -np.sin(angle)])
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(back, right), back, centre + distance * back], -1)
        focal = 0.46 * size_px * np.sqrt(distance**2 - radius**2) / radius
        cameras.append(
            {
                "w": size_px,
                "h": size_px,
                "fl_x": focal,
                "fl_y": focal,
                "cx": size_px / 2,
                "cy": size_px / 2,
                "pose": pose,
            }
        )
    return cameras


def check_markers(arguments: argparse.Namespace, out: Path) -> int:
    """Render both marker assets and say what is wrong with them."""
    problems = []
    for name, check in (("mirror", check_mirror), ("chart", check_chart)):
        folder = arguments.run_dir / name
        renderer = load_renderer(arguments, folder / "asset.glb")
        renderer.set_light(folder / "light.hdr")
        pictures = []
        for view, camera in read_cameras(folder / "cameras.json", arguments.size).items():
            picture = renderer.render(camera, samples=arguments.samples)
            pictures.append(over(picture, 0.0))
            found = check(picture, camera)
            print(f"{arguments.renderer} {name} {view}: {'; '.join(found) or 'right'}")
            problems += found
        Image.fromarray(np.concatenate(pictures, 1)).save(out / f"{name}_{arguments.renderer}.png")
    return 1 if problems else 0


def srgb(linear: np.ndarray) -> np.ndarray:
    """The sRGB curve (IEC 61966-2-1), written here a second time on purpose."""
    x = np.clip(linear, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-8) ** (1 / 2.4) - 0.055)


def straight(picture: np.ndarray) -> np.ndarray:
    """Linear RGB of premultiplied RGBA; black where nothing was hit."""
    return np.where(picture[..., 3:] > 1e-4, picture[..., :3] / np.maximum(picture[..., 3:], 1e-4), 0)


def png_from_linear(picture: np.ndarray) -> np.ndarray:
    """Premultiplied linear RGBA as straight 8-bit sRGB."""
    alpha = np.clip(picture[..., 3:], 0, 1)
    return (np.concatenate([srgb(straight(picture)), alpha], -1) * 255 + 0.5).astype(np.uint8)


def linear_from_png(image: Image.Image, shape: tuple[int, int]) -> np.ndarray:
    """A straight sRGB picture as premultiplied linear RGBA, reduced to (height, width) by averaging areas."""
    x = np.asarray(image.convert("RGBA")).astype(np.float32) / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    planes = [linear[..., i] * x[..., 3] for i in range(3)] + [x[..., 3]]
    small = [Image.fromarray(plane).resize(shape[::-1], Image.Resampling.BOX) for plane in planes]
    return np.stack([np.asarray(plane) for plane in small], -1)


def over(picture: np.ndarray, background: float) -> np.ndarray:
    """8-bit sRGB of premultiplied linear RGBA over a grey background (sRGB level, composed in sRGB)."""
    alpha = np.clip(picture[..., 3:], 0, 1)
    return ((srgb(straight(picture)) * alpha + background * (1 - alpha)) * 255 + 0.5).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
