"""Coverage as a picture: the directions around the object on discs, in Lambert's azimuthal equal-area projection."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from pipeline.check.advice import region_words, stem
from pipeline.check.coverage import REACH_DEG, Coverage
from pipeline.check.directions import direction, elevation_deg, nearest_deg
from pipeline.formats import images

DISC_PX, MARGIN_PX, HEAD_PX, FOOT_PX = 760, 90, 96, 96
FINE = 2  # samples a pixel along each side
NEAR_DEG = REACH_DEG / 2
NEAR, SEEN, EMPTY, BEYOND = (126, 190, 138), (205, 231, 205), (247, 222, 208), (232, 233, 236)
INK, PALE, CAMERA, GAP = (40, 44, 52), (150, 156, 166), (33, 84, 160), (196, 52, 40)
"""Colours in 8-bit sRGB: well seen, seen, not seen, not to be seen; text, lines, cameras and the widest gap."""


def draw_coverage(coverage: Coverage, path: Path) -> None:
    """Write the picture: the half of all directions above level, and the lower half where there are photos.

    Equal areas of the sphere are equal on the disc; the middle is straight above (or below), the rim is level. The
    front (+Z) is at the bottom of the upper disc, as for somebody who stands there.
    """
    sides = (1, -1) if (coverage.directions[:, 1] < 0).any() else (1,)
    width, height = MARGIN_PX + (DISC_PX + MARGIN_PX) * len(sides), HEAD_PX + DISC_PX + MARGIN_PX + FOOT_PX
    page = Image.new("RGB", (FINE * width, FINE * height), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    for index, side in enumerate(sides):
        disc = _Disc(side, FINE * (MARGIN_PX + index * (DISC_PX + MARGIN_PX)), FINE * (HEAD_PX + MARGIN_PX // 2))
        page.paste(*disc.shading(coverage))
        if len(sides) > 1:
            word = f"seen from {'above' if side > 0 else 'below'}"
            pen.text((disc.left, disc.top - 20 * FINE), word, fill=INK, font=_font(17), anchor="lm")
        _draw_grid(pen, disc)
        _draw_gap(pen, disc, coverage)
        _draw_cameras(pen, disc, coverage)
    _write_head(pen, coverage)
    _write_foot(pen, FINE * (height - FOOT_PX))
    images.write_png(path, np.asarray(page.resize((width, height), Image.Resampling.BOX)))


class _Disc:
    """One half of the sphere on the page.

    Args:
        side: 1 for the upper half, -1 for the lower one, seen from outside.
        left: Of its square on the page, pixels.
        top: Likewise.
    """

    def __init__(self, side: int, left: int, top: int) -> None:
        self.side, self.left, self.top = side, left, top
        self.radius = FINE * DISC_PX / 2

    def place(self, directions: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 2"]:
        """Pixels of directions: r = sqrt(2) sin(c / 2) of the disc's radius at the angle c from its middle."""
        level = np.maximum(np.linalg.norm(directions[:, [0, 2]], axis=1), 1e-12)
        r = self.radius * np.sqrt(np.maximum(1 - self.side * directions[:, 1], 0))
        x, y = r * directions[:, 0] / level, self.side * r * directions[:, 2] / level
        return np.stack([self.left + self.radius + x, self.top + self.radius + y], 1)

    def shows(self, directions: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
        """Whether directions lie on this half."""
        return self.side * directions[:, 1] >= 0

    def shading(self, coverage: Coverage) -> tuple[Image.Image, tuple[int, int], Image.Image]:
        """The disc coloured by the angle to the nearest photo, where it goes, and its outline as a mask."""
        size = round(2 * self.radius)
        axis = (np.arange(size) + 0.5 - self.radius) / self.radius
        x, y = np.meshgrid(axis, axis)
        squared = x * x + y * y
        inside = squared <= 1
        up = 1 - squared[inside]
        level = np.sqrt(np.maximum(2 - squared[inside], 0))  # sin(c) / r with cos(c) = 1 - r^2
        directions = np.stack([x[inside] * level, self.side * up, self.side * y[inside] * level], 1)
        pixels: UInt8[np.ndarray, "size size 3"] = np.full((size, size, 3), 255, np.uint8)
        pixels[inside] = _colors(directions, coverage)
        outline = Image.fromarray((inside * 255).astype(np.uint8))
        return Image.fromarray(pixels), (self.left, self.top), outline


def _colors(directions: Float[np.ndarray, "points 3"], coverage: Coverage) -> UInt8[np.ndarray, "points 3"]:
    colors = np.empty((len(directions), 3), np.uint8)
    for start in range(0, len(directions), 100_000):
        part = directions[start : start + 100_000]
        angle = nearest_deg(part, coverage.directions)
        kind = np.where(elevation_deg(part) < coverage.lowest_deg - 0.1, 3, 2)
        kind = np.where(angle <= REACH_DEG, 1, kind)
        kind = np.where(angle <= NEAR_DEG, 0, kind)
        colors[start : start + 100_000] = np.array([NEAR, SEEN, EMPTY, BEYOND], np.uint8)[kind]
    return colors


def _draw_grid(pen: ImageDraw.ImageDraw, disc: _Disc) -> None:
    for elevation in (0, 30, 60):
        circle = np.stack([direction(a, disc.side * elevation) for a in range(0, 361, 3)])
        _line(pen, disc.place(circle), PALE, 2 if elevation == 0 else 1)
    words = {0: "front", 90: "right", 180: "back", 270: "left"}
    for azimuth, word in words.items():
        line = np.stack([direction(azimuth, disc.side * e) for e in (0, 89.9)])
        _line(pen, disc.place(line), PALE, 1)
        x, y = disc.place(direction(azimuth, 0)[None])[0]
        toward = np.array([x - disc.left - disc.radius, y - disc.top - disc.radius]) / disc.radius
        pen.text((x + 24 * FINE * toward[0], y + 24 * FINE * toward[1]), word, fill=INK, font=_font(17), anchor="mm")


def _draw_gap(pen: ImageDraw.ImageDraw, disc: _Disc, coverage: Coverage) -> None:
    """The border of the widest gap and its middle."""
    middle = coverage.gap.direction
    side = np.cross(middle, [0.0, 1.0, 0.0] if abs(middle[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    turn, angle = np.linspace(0, 2 * math.pi, 240)[:, None], math.radians(coverage.gap.radius_deg)
    border = math.cos(angle) * middle + math.sin(angle) * (np.cos(turn) * side + np.sin(turn) * np.cross(middle, side))
    pixels, seen = disc.place(border), disc.side * border[:, 1] >= 0
    for k in range(0, len(pixels) - 1, 3):  # dashes: two drawn, one left out
        for j in (k, k + 1):
            if j + 1 < len(pixels) and seen[j] and seen[j + 1]:
                _line(pen, pixels[j : j + 2], GAP, 3)
    if disc.side * middle[1] >= -1e-9:
        x, y = disc.place(middle[None])[0]
        reach = 9 * FINE
        for dx, dy in ((reach, reach), (reach, -reach)):
            pen.line([(x - dx, y - dy), (x + dx, y + dy)], fill=GAP, width=4 * FINE)


def _draw_cameras(pen: ImageDraw.ImageDraw, disc: _Disc, coverage: Coverage) -> None:
    pixels = disc.place(coverage.directions)
    shown = np.flatnonzero(disc.shows(coverage.directions))
    size = 6 * FINE
    for x, y in pixels[shown]:
        pen.ellipse([x - size, y - size, x + size, y + size], fill=CAMERA, outline=(255, 255, 255), width=FINE)
    taken = [(x - size, y - size, x + size, y + size) for x, y in pixels[shown]]
    for elevation in (0, 30, 60):
        x, y = disc.place(direction(45, disc.side * elevation)[None])[0]
        word = "level" if elevation == 0 else f"{elevation}° {'down' if disc.side > 0 else 'up'}"
        _label(pen, (x, y), word, "lm", taken)
    for index in shown:
        x, y = pixels[index]
        name = stem(coverage.names[index])
        left = x > disc.left + 1.6 * disc.radius  # names must not run off the page
        offset, anchor = (-9 * FINE, "rm") if left else (9 * FINE, "lm")
        _label(pen, (x + offset, y), name if len(name) <= 14 else f"…{name[-13:]}", anchor, taken)


def _label(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    word: str,
    anchor: str,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Write a word where nothing else is, and leave it out elsewhere; `taken` grows by its box."""
    font = _font(14)
    x0, y0, x1, y1 = box = pen.textbbox(place, word, font=font, anchor=anchor)
    if any(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in taken):
        return
    taken.append(box)
    pen.text(place, word, fill=INK, font=font, anchor=anchor, stroke_width=FINE, stroke_fill="white")


def _write_head(pen: ImageDraw.ImageDraw, coverage: Coverage) -> None:
    head = f"{len(coverage.names)} photos around the object"
    told = f"{coverage.share:.0%} of {region_words(coverage)} within {REACH_DEG:.0f}° of a photo; "
    told += f"widest gap {2 * coverage.gap.radius_deg:.0f}° across"
    pen.text((FINE * MARGIN_PX, FINE * 22), head, fill=INK, font=_font(28))
    pen.text((FINE * MARGIN_PX, FINE * 62), told, fill=INK, font=_font(19))


def _write_foot(pen: ImageDraw.ImageDraw, top: int) -> None:
    x, y = FINE * MARGIN_PX, top + FINE * 20
    for color, word in ((NEAR, f"within {NEAR_DEG:g}°"), (SEEN, f"within {REACH_DEG:.0f}°"), (EMPTY, "no photo")):
        pen.rectangle([x, y, x + 26 * FINE, y + 20 * FINE], fill=color, outline=PALE)
        pen.text((x + 34 * FINE, y + 10 * FINE), word, fill=INK, font=_font(17), anchor="lm")
        x += 165 * FINE
    pen.ellipse([x, y + 4 * FINE, x + 12 * FINE, y + 16 * FINE], fill=CAMERA)
    pen.text((x + 20 * FINE, y + 10 * FINE), "photo", fill=INK, font=_font(17), anchor="lm")
    x += 100 * FINE
    pen.line([(x, y), (x + 20 * FINE, y + 20 * FINE)], fill=GAP, width=4 * FINE)
    pen.line([(x, y + 20 * FINE), (x + 20 * FINE, y)], fill=GAP, width=4 * FINE)
    pen.text((x + 28 * FINE, y + 10 * FINE), "widest gap", fill=INK, font=_font(17), anchor="lm")


def _line(
    pen: ImageDraw.ImageDraw, pixels: Float[np.ndarray, "points 2"], color: tuple[int, int, int], width: int
) -> None:
    pen.line([(float(x), float(y)) for x, y in pixels], fill=color, width=width * FINE)


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=FINE * size_px)
