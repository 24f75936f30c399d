#!/usr/bin/env python
"""What each part of the method is worth: the same captures with one part changed at a time, judged by `recon bench`.

    .venv/bin/python scripts/ablation.py DIR... --out ablation [--only NAME...] [quality=draft ...]

DIR are captures with truth (docs/bench.md). Variants share the stages that they do not change. Writes
OUT/ablation.json and prints a Markdown table for each capture; runs that are there are not repeated.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VARIANTS: dict[str, tuple[str, ...]] = {
    "whole": (),
    "no parsimony prior": ("appearance.parsimony=0",),
    "soft light (harmonics)": ("appearance.light=sh",),
    "rough start": ("appearance.start_roughness=0.6",),
    "no shadows, no bounce": ("appearance.shadows=false",),
    "no normal map": ("appearance.normal_map=false",),
    "no search for metals, roughness and level": ("appearance.metal_search=false",),
    "no other priors": (
        *("appearance.white_light=0", "appearance.smoothness=0"),
        *("appearance.light_smoothness=0", "appearance.metallic_prior=0", "appearance.roughness_prior=0"),
    ),
    "no stereo": ("geometry.stereo=false",),
    "hull of 97 points": ("geometry.grid_resolution=97",),
    "narrow-band DMTet": ("geometry.dmtet_steps=160", "geometry.joint_px=256", "geometry.joint_batch_views=4"),
    "edges as the grid cut them": ("geometry.outline_steps=0",),
    "vertices moved by the photos": ("appearance.vertex_steps=100",),
    "exposure +-20 %, found": ("appearance.exposure=auto",),
    "exposure +-20 %, ignored": ("appearance.exposure=off",),
    "poses off by 0.2 degrees, refined": (),
    "poses off by 0.2 degrees, ignored": ("appearance.poses=off",),
}
NOISE = {"exposure": (0.2, 0.0), "poses": (0.0, 0.2)}  # by a variant's first word: gain, degrees
COLUMNS = (  # heading, where in bench.json, format
    ("view dB", "view.psnr_db", ".2f"),
    ("relit dB", "relit_scaled.psnr_db", ".2f"),
    ("base dB", "base_color.psnr_scaled_db", ".2f"),
    ("roughness", "roughness_mae", ".3f"),
    ("metallic", "metallic_mae", ".3f"),
    ("normals, degrees", "normal_deg", ".2f"),
    ("Chamfer %", "surface.chamfer_pct", ".3f"),
)


def disturbed(capture: Path, out: Path, *, gain: float, degrees: float, seed: int = 0) -> Path:
    """A copy of the capture whose training photos differ in exposure, or whose given poses are turned at random."""
    if out.is_dir():
        return out
    partial = out.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for entry in capture.iterdir():
        if entry.name not in ("train", "transforms_train.json"):
            (partial / entry.name).symlink_to(entry.resolve())
    rng = np.random.default_rng(seed)
    transforms = json.loads((capture / "transforms_train.json").read_text())
    for frame in transforms["frames"]:
        axis = rng.normal(size=3)
        pose = np.array(frame["transform_matrix"])
        pose[:3, :3] = pose[:3, :3] @ rotation(axis / np.linalg.norm(axis), math.radians(degrees))
        frame["transform_matrix"] = pose.tolist()
    (partial / "transforms_train.json").write_text(json.dumps(transforms))
    (partial / "train").mkdir()
    for path in sorted((capture / "train").glob("*.png")):
        rgba = np.asarray(Image.open(path).convert("RGBA"), dtype=np.float64) / 255
        stops = rng.uniform(-1, 1) * gain
        rgba[..., :3] = np.clip(rgba[..., :3] * (1 + stops) ** (1 / 2.2), 0, 1)  # the gain is of linear light
        Image.fromarray((rgba * 255).round().astype(np.uint8)).save(partial / "train" / path.name)
    partial.rename(out)
    return out


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' rotation matrix."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def run(name: str, captures: list[Path], out: Path, settings: list[str]) -> dict[str, Any]:
    """Run and judge one variant, from the stages of the whole method where these are there; its bench.json."""
    folder = out / name.replace(" ", "_").replace("%", "percent").replace(",", "")
    result = folder / "bench.json"
    if not result.is_file():
        noise = NOISE.get(name.split()[0])
        if noise is not None:
            copies, (gain, degrees) = out / "captures" / name.split()[0], noise
            captures = [disturbed(c, copies / c.name, gain=gain, degrees=degrees) for c in captures]
        for capture in captures:
            done, own = out / "whole" / capture.name / "run", folder / capture.name / "run"
            if noise is None and done.is_dir() and not own.is_dir():
                shutil.copytree(done, own)
                shutil.copy2(done.parents[1] / ".lock", folder)  # which marks it as a folder of `recon bench`
        command = [sys.executable, "-P", "-m", "pipeline.cli", "bench", *map(str, captures), "--out", str(folder)]
        subprocess.run([*command, *settings, *VARIANTS[name]], check=True)
    told: dict[str, Any] = json.loads(result.read_text())
    return told


def figure(record: dict[str, Any], where: str) -> float:
    """A figure of a capture's record."""
    value: Any = record
    for key in where.split("."):
        value = value[key]
    return float(value)


def main() -> None:
    """Run all variants and print one table for each capture."""
    parser = argparse.ArgumentParser(description="Judge the method with one part changed at a time.")
    parser.add_argument("captures", nargs="+", metavar="DIR|key=value", help="captures with truth, and settings")
    parser.add_argument("--out", type=Path, default=Path("ablation"), help="folder for everything")
    parser.add_argument("--only", nargs="*", choices=sorted(VARIANTS), help="besides the whole method")
    arguments = parser.parse_intermixed_args()
    settings = [word for word in arguments.captures if "=" in word]
    captures = [Path(word).resolve() for word in arguments.captures if "=" not in word]
    chosen = [name for name in VARIANTS if name == "whole" or arguments.only is None or name in arguments.only]
    told = {name: run(name, captures, arguments.out, settings)["captures"] for name in chosen}
    (arguments.out / "ablation.json").write_text(json.dumps(told, indent=1))
    for k, capture in enumerate(captures):
        print(f"\n| {capture.name} | " + " | ".join(heading for heading, *_ in COLUMNS) + " |")
        print("| --- |" + " ---: |" * len(COLUMNS))
        for name in chosen:
            cells = [format(figure(told[name][k], where), form) for _, where, form in COLUMNS]
            print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
