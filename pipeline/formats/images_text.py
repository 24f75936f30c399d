"""Words on pictures."""

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

SIZE = 0.55  # of the letters, as a share of the line's height


def lettering(text: str, *, width_px: int, height_px: int) -> Float32[np.ndarray, "height width"]:
    """A line of text in the middle of a strip, as the share of each pixel that the letters cover."""
    strip = Image.new("L", (width_px, height_px))
    font = ImageFont.load_default(size=max(8.0, SIZE * height_px))
    ImageDraw.Draw(strip).text((width_px / 2, height_px / 2), text, fill=255, font=font, anchor="mm")
    return np.asarray(strip, np.float32) / 255
