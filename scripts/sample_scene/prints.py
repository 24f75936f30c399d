"""Line art: made-up writing, the lithography of the tin, the sheets on the table."""

import math

import cv2
import numpy as np
from PIL import Image, ImageDraw

from sample_scene.surfaces import Array, Part, Point

Color = tuple[int, int, int]
Draw = ImageDraw.ImageDraw
Rng = np.random.Generator

TEAL, CREAM, RED, AMBER, INK = (22, 116, 118), (242, 228, 198), (205, 66, 40), (230, 164, 52), (28, 38, 50)
NAVY, PALE, STRAW = (30, 54, 92), (206, 222, 236), (232, 190, 90)


def runes(draw: Draw, rng: Rng, box: tuple[float, float, float, float], color: Color, rows: int = 1) -> None:
    """Fill `box` (x, y, width, height) with rows of made-up letters: three to five strokes on a 3 x 4 lattice."""
    x0, y0, width, height = box
    tall = height / rows
    wide = 0.62 * tall
    for row in range(rows):
        for column in range(int(width / wide)):
            if rows > 1 and rng.random() < 0.16:
                continue
            nodes = rng.permutation(12)[: rng.integers(4, 7)]
            knots = [
                (x0 + wide * (column + 0.12 + 0.34 * (n % 3)), y0 + tall * (row + 0.12 + 0.21 * (n // 3)))
                for n in nodes
            ]
            draw.line(knots, fill=color, width=max(1, round(0.11 * tall)), joint="curve")


def disc(draw: Draw, centre: Point, radius: float, color: Color) -> None:
    """A filled circle."""
    draw.ellipse((centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius), fill=color)


def dial(draw: Draw, centre: Point, radius: float, needle_deg: float) -> None:
    """A gauge with ticks and a needle."""
    for scale, color in ((1.0, INK), (0.88, CREAM)):
        disc(draw, centre, scale * radius, color)
    for k in range(11):
        a = math.radians(150 + 24 * k)
        ends = [(centre[0] + r * radius * math.cos(a), centre[1] + r * radius * math.sin(a)) for r in (0.60, 0.80)]
        draw.line(ends, fill=RED if k > 7 else INK, width=max(1, round(radius * 0.07)))
    a = math.radians(needle_deg)
    tip = (centre[0] + 0.70 * radius * math.cos(a), centre[1] + 0.70 * radius * math.sin(a))
    draw.line([tuple(centre), tip], fill=RED, width=max(1, round(radius * 0.10)))
    disc(draw, centre, 0.16 * radius, INK)


def tin_print(part: Part, size: tuple[int, int]) -> Array:
    """The body's print (sRGB, 0..255): bands, dials, numbers, writing; drawn three times larger, then reduced."""
    h, w = size
    arc = part.arc()
    scale = 3.0 * h / arc[-1]  # picture pixels per metre, down
    image = Image.new("RGB", (3 * w, 3 * h), TEAL)
    draw, rng = ImageDraw.Draw(image), np.random.default_rng(3)

    def down(height: float) -> float:
        side = np.nonzero(np.linalg.norm(part.grid[:, 0, ::2], axis=-1) > 0.0235)[0]
        return scale * float(np.interp(-height, -part.grid[side, 0, 1], arc[side]))

    top, bottom, wide = down(0.0955), down(0.0335), 3.0 * w
    draw.rectangle((0, 0, wide, top), fill=CREAM)
    draw.rectangle((0, top, wide, top + 0.0012 * scale), fill=RED)
    band = down(0.0435)
    draw.rectangle((0, band, wide, 3 * h), fill=AMBER)
    for k in range(40):
        x, lean = wide * k / 40, wide / 80
        draw.polygon([(x, bottom), (x + lean, bottom), (x + 2 * lean, band), (x + lean, band)], fill=INK)
    draw.rectangle((0, bottom, wide, 3 * h), fill=RED)
    for y in (band - 0.0022 * scale, top + 0.0030 * scale):
        draw.rectangle((0, y, wide, y + 0.0008 * scale), fill=CREAM)
    for k in range(24):
        disc(draw, (wide * (k + 0.5) / 24, 0.5 * (top + down(0.1005))), 0.0012 * scale, INK)
    decorate_front(draw, rng, (0.5 * wide, down(0.069)), scale)
    decorate_sides(draw, rng, (wide, down(0.069)), scale)
    return cv2.resize(np.asarray(image), (w, h), interpolation=cv2.INTER_AREA).astype(float)


def decorate_front(draw: Draw, rng: Rng, centre: Point, scale: float) -> None:
    """The chest: a cream plate with two dials, lamps and writing."""
    x, y = centre
    s = scale
    draw.rounded_rectangle((x - 0.031 * s, y - 0.0185 * s, x + 0.031 * s, y + 0.0195 * s), 0.004 * s, fill=INK)
    draw.rounded_rectangle((x - 0.030 * s, y - 0.0175 * s, x + 0.030 * s, y + 0.0185 * s), 0.0035 * s, fill=CREAM)
    dial(draw, (x - 0.0165 * s, y - 0.0050 * s), 0.0100 * s, 215.0)
    dial(draw, (x + 0.0040 * s, y - 0.0080 * s), 0.0068 * s, 320.0)
    for k, color in enumerate((RED, AMBER, TEAL)):
        disc(draw, (x + 0.0190 * s, y + (-0.0120 + 0.0080 * k) * s), 0.0031 * s, INK)
        disc(draw, (x + 0.0190 * s, y + (-0.0120 + 0.0080 * k) * s), 0.0025 * s, color)
    runes(draw, rng, (x - 0.027 * s, y + 0.0078 * s, 0.034 * s, 0.0082 * s), INK, 2)
    draw.rectangle((x + 0.010 * s, y + 0.0115 * s, x + 0.026 * s, y + 0.0155 * s), fill=RED)
    runes(draw, rng, (x + 0.011 * s, y + 0.0120 * s, 0.015 * s, 0.0032 * s), CREAM)


def decorate_sides(draw: Draw, rng: Rng, size: Point, scale: float) -> None:
    """Numbers under both arms, writing and stripes on the back."""
    wide, y = size
    s = scale
    for x in (0.25 * wide, 0.75 * wide):
        disc(draw, (x, y), 0.0155 * s, RED)
        disc(draw, (x, y), 0.0135 * s, CREAM)
        zero = (x - 0.0092 * s, y - 0.0075 * s, x - 0.0012 * s, y + 0.0075 * s)
        draw.rounded_rectangle(zero, 0.003 * s, outline=INK, width=round(0.0024 * s))
        seven = ((0.0010, -0.0064), (0.0092, -0.0064), (0.0036, 0.0078))
        draw.line([(x + a * s, y + b * s) for a, b in seven], fill=INK, width=round(0.0024 * s), joint="curve")
    for side in (0.0, wide):
        for k, (left, top) in enumerate(((-0.030, -0.017), (0.009, -0.017), (-0.030, 0.004), (0.009, 0.004))):
            x0, y0 = side + left * s, y + top * s
            draw.rounded_rectangle(
                (x0, y0, x0 + 0.021 * s, y0 + 0.0145 * s), 0.002 * s, fill=(INK, CREAM, AMBER, INK)[k]
            )
            words = np.random.default_rng(20 + k)
            runes(draw, words, (x0 + 0.0015 * s, y0 + 0.001 * s, 0.018 * s, 0.0125 * s), (AMBER, INK, INK, CREAM)[k], 3)
    for x in (0.375 * wide, 0.625 * wide):
        for k in range(5):
            draw.line(
                [(x - 0.004 * s, y + (-0.014 + 0.006 * k) * s), (x + 0.004 * s, y + (-0.016 + 0.006 * k) * s)],
                fill=(CREAM, AMBER)[int(rng.integers(2))],
                width=round(0.0022 * s),
            )


def sheet(size: tuple[int, int], seed: int) -> Image.Image:
    """A printed page: heading, writing, pictures made of dots and bars."""
    rng = np.random.default_rng(seed)
    w, h = size
    ink = (INK, (120, 34, 30), (24, 76, 62), (44, 44, 92))[seed % 4]
    image = Image.new("RGB", size, ((238, 231, 214), (226, 216, 190), (240, 238, 232))[seed % 3])
    draw = ImageDraw.Draw(image)
    runes(draw, rng, (0.08 * w, 0.06 * h, 0.84 * w, 0.10 * h), ink)
    draw.rectangle((0.08 * w, 0.17 * h, 0.92 * w, 0.18 * h), fill=ink)
    runes(draw, rng, (0.08 * w, 0.21 * h, 0.84 * w, 0.26 * h), ink, 7)
    accent = (RED, AMBER, TEAL)[seed % 3]
    draw.rectangle((0.08 * w, 0.51 * h, 0.50 * w, 0.80 * h), fill=accent)
    for _ in range(26):
        spot = rng.uniform((0.12 * w, 0.54 * h), (0.46 * w, 0.77 * h))
        disc(draw, spot, float(rng.uniform(0.008, 0.03)) * w, (CREAM, INK, PALE)[int(rng.integers(3))])
    runes(draw, rng, (0.55 * w, 0.51 * h, 0.37 * w, 0.29 * h), ink, 7)
    edges = np.cumsum(rng.integers(1, 5, 80)) * 0.0042 * w + 0.08 * w
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        if right < 0.92 * w:
            draw.rectangle((left, 0.85 * h, right, 0.94 * h), fill=ink)
    return image


def blueprint(size: int) -> Image.Image:
    """The mat under the robot: a technical drawing in white on navy."""
    rng = np.random.default_rng(12)
    image = Image.new("RGB", (size, size), NAVY)
    draw = ImageDraw.Draw(image)
    for k in range(1, 30):
        draw.line([(0, k * size / 30), (size, k * size / 30)], fill=(44, 72, 114), width=2 + 2 * (k % 5 == 0))
        draw.line([(k * size / 30, 0), (k * size / 30, size)], fill=(44, 72, 114), width=2 + 2 * (k % 5 == 0))
    draw.rectangle((0.025 * size, 0.025 * size, 0.975 * size, 0.975 * size), outline=PALE, width=5)
    for radius, width in ((0.205, 5), (0.225, 3), (0.34, 3)):
        box = (size * (0.5 - radius), size * (0.5 - radius), size * (0.5 + radius), size * (0.5 + radius))
        draw.ellipse(box, outline=PALE, width=width)
    for k in range(72):
        a, long = math.radians(5 * k), 0.245 + 0.02 * (k % 6 == 0)
        draw.line(
            [(size * (0.5 + r * math.cos(a)), size * (0.5 + r * math.sin(a))) for r in (0.225, long)],
            fill=PALE,
            width=3,
        )
    for _ in range(64):
        x, y = rng.uniform(0.05, 0.86, 2)
        if math.hypot(x + 0.04 - 0.5, y + 0.03 - 0.5) < 0.30:
            continue
        w, h = rng.uniform(0.03, 0.09, 2)
        kind = int(rng.integers(4))
        if kind == 0:
            draw.rectangle((x * size, y * size, (x + w) * size, (y + h) * size), outline=PALE, width=4)
        elif kind == 1:
            draw.ellipse((x * size, y * size, (x + w) * size, (y + w) * size), outline=STRAW, width=4)
        else:
            runes(draw, rng, (x * size, y * size, 2.0 * w * size, 0.036 * size), (PALE, STRAW)[kind - 2], kind - 1)
    return image
