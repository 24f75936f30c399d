"""What a mask that came along shows, and how one that is stored like the sensor is turned upright."""

import numpy as np
from jaxtyping import UInt8

Mask = UInt8[np.ndarray, "height width"]

_SOFT = (16, 239)  # 8-bit steps between which a pixel is neither object nor background; JPEG ripples stay outside
_BORDER, _MIDDLE = 0.03, 1 / 3  # of width and height

# EXIF 2.32, 4.6.4 A: reverse the rows, reverse the columns, then exchange rows and columns.
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}


def turned_upright(mask: Mask, orientation: int) -> UInt8[np.ndarray, "upright_height upright_width"]:
    """A mask stored like the sensor of a photo with this EXIF orientation, turned as the photo is."""
    rows, columns, exchange = _TURNS[orientation]
    mask = mask[::-1] if rows else mask  # not a frame flip: EXIF orientation, applied once
    mask = mask[:, ::-1] if columns else mask  # not a frame flip: EXIF orientation, applied once
    return np.ascontiguousarray(mask.T if exchange else mask)


def mask_figures(mask: Mask) -> dict[str, dict[str, float]]:
    """The shares that tell a useful mask, under the key `mask_figures`.

    `white`; `soft`, of what is not black; `border` and `middle`, how white the picture's rim and its middle ninth are.
    """
    height, width = mask.shape
    white = mask > 127
    rim = np.ones_like(white)
    y, x = max(1, round(height * _BORDER)), max(1, round(width * _BORDER))
    rim[y : height - y, x : width - x] = False
    top, left = round(height * (1 - _MIDDLE) / 2), round(width * (1 - _MIDDLE) / 2)
    middle = white[top : height - top, left : width - left]
    covered = mask >= _SOFT[0]
    soft = covered & (mask <= _SOFT[1])
    return {
        "mask_figures": {
            "white": round(float(white.mean()), 5),
            "soft": round(float(soft.sum() / max(1, covered.sum())), 4),
            "border": round(float(white[rim].mean()), 4),
            "middle": round(float(middle.mean()) if middle.size else 0.0, 4),
        }
    }
