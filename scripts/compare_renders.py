"""Renders the true models of captures that come with truth, and compares them with their path-traced test pictures.

    .venv/bin/python scripts/compare_renders.py $RECON_DATA/a_boombox $RECON_DATA/a_cabinet --out runs/compare_renders

Mesh, maps and light are given, so what is left is the renderer: PSNR in sRGB inside the mask of both, per view, and a
sheet with rows of truth | ours | four times the difference. The captures' world has +Z up, their models have +Y up.
"""

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import pipeline  # noqa: F401, I001  # sets the threads' waiting policy before torch is imported
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.color import srgb_from_linear
from pipeline.formats.gltf import read_gltf
from pipeline.formats.images import write_png
from pipeline.formats.light_maps import read_light
from pipeline.formats.transforms_json import read_transforms
from pipeline.frames import rotation_to_y_up
from pipeline.metrics import psnr
from pipeline.raster.cpu import CpuRasterizer
from pipeline.scene import Asset
from pipeline.shading.light_maps import octahedral_light
from pipeline.shading.render import LitMesh, light_mesh, render

LIGHT_TEXELS = 256
SHEET_VIEWS = 4


def main() -> None:
    """Compare all captures that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", type=Path, nargs="+", help="folders with mesh.glb, hdri/ and transforms_test.json")
    parser.add_argument("--out", type=Path, default=Path("runs/compare_renders"))
    parser.add_argument("--samples", type=int, default=4, help="along each side of a pixel")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for capture in arguments.captures:
        figures, sheet = compare(capture, samples=arguments.samples)
        path = arguments.out / f"{capture.name}.png"
        write_png(path, (sheet * 255).round().byte().numpy())
        print(capture.name, " ".join(f"{x:.1f}" for x in figures), f"mean {sum(figures) / len(figures):.1f} dB", path)


def compare(capture: Path, *, samples: int, views: int | None = None) -> tuple[list[float], Tensor]:
    """PSNR of the first views, or of all, and the sheet."""
    asset, scene = lit_model(capture)
    figures, rows = [], []
    for frame in read_transforms(capture / "transforms_test.json")[:views]:
        up = torch.eye(4, dtype=torch.float64)
        up[:3, :3] = rotation_to_y_up(torch.tensor([0.0, 0.0, 1.0]))
        picture = render(asset, scene, frame.camera.moved(up), CpuRasterizer(), samples=samples)
        truth = torch.from_numpy(np.array(Image.open(frame.image_path)).astype(np.float32) / 255)
        both = (picture.alpha > 0.99) & (truth[..., 3] > 0.99)
        ours = srgb_from_linear(picture.color)
        figures.append(psnr(ours[both], truth[both][:, :3]))
        difference = (4 * (ours - truth[..., :3]).abs() * both[..., None]).clamp(0, 1)
        rows.append(torch.cat([truth[..., :3] * truth[..., 3:], ours * picture.alpha[..., None], difference], 1))
    step = math.ceil(len(rows) / SHEET_VIEWS)
    return figures, torch.cat(rows[::step])


def lit_model(capture: Path) -> tuple[Asset, LitMesh]:
    """The true model under the light of its test pictures.

    Turned upright, the captures' light maps are ours: longitude grows the other way and about the other axis.
    """
    document = json.loads((capture / "transforms_test.json").read_text(encoding="utf-8"))
    light = read_light(capture / "hdri" / f"{document['env']}.hdr") * document["env_strength"]
    model = read_gltf(capture / "mesh.glb")
    environment = octahedral_light(light, LIGHT_TEXELS)
    return model.asset, light_mesh(model.asset, environment, normals=model.normals, tangents=model.tangents)


if __name__ == "__main__":
    main()
