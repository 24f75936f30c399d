"""Which rows a triangle may cover: projection, bounding boxes, and lists of triangles per band of rows."""

# ruff: noqa: ANN001, ANN201, ANN202, PLR0913 - numba infers the types, and kernels take arrays, not objects

import numpy as np

from pipeline.raster.cpu.jit import helper, kernel, no_type_check, prange

BAND_ROWS = 16
CHUNKS = 16
# A corner farther off is not projected: its pixel coordinates would round more coarsely than 1e-10 px.
_FAR_PX = 2.0**20


@kernel
@no_type_check
def project(clip, width, height, screen):
    """Turn clip positions (P, 4) into places on the screen (P, 3): column, row (pixel centres are whole) and z/w.

    All three are nan where the point has no place near the image: not in front of the camera, far off the
    image, or not finite.
    """
    for p in prange(clip.shape[0]):
        w = np.float64(clip[p, 3])
        x = (np.float64(clip[p, 0]) * (0.5 * width) + w * (0.5 * (width - 1))) / w
        y = (np.float64(clip[p, 1]) * (0.5 * height) + w * (0.5 * (height - 1))) / w
        near = w > 0 and abs(x) <= _FAR_PX and abs(y) <= _FAR_PX
        screen[p, 0] = x if near else np.nan
        screen[p, 1] = y if near else np.nan
        screen[p, 2] = clip[p, 2] / w if near else np.nan


@helper
@no_type_check
def _homogeneous(clip, i, size):
    """A clip position as (X, Y, z, w) in pixels."""
    w = np.float64(clip[i, 3])
    x = np.float64(clip[i, 0]) * (0.5 * size[0]) + w * (0.5 * (size[0] - 1))
    y = np.float64(clip[i, 1]) * (0.5 * size[1]) + w * (0.5 * (size[1] - 1))
    return x, y, np.float64(clip[i, 2]), w


@helper
@no_type_check
def _clamped_range(low, high, size):
    """The integers in [low, high) that are also in [0, size), as a half-open range."""
    return int(np.ceil(min(max(low, 0.0), np.float64(size)))), int(np.ceil(min(max(high, 0.0), np.float64(size))))


@helper
@no_type_check
def _box_general(corners, width, height):
    """Bounding box of a triangle's part with z >= -w, when some corner has no pixel coordinates."""
    x_low, x_high, y_low, y_high = np.inf, -np.inf, np.inf, -np.inf
    for n in range(3):
        p, q = corners[n], corners[(n + 1) % 3]
        from_p, from_q = p[2] + p[3], q[2] + q[3]
        for cut in range(2):
            if cut == 0:
                t, keep = 0.0, from_p >= 0
            else:
                keep = (from_p < 0) != (from_q < 0)
                t = from_p / (from_p - from_q) if keep else 0.0
            if keep:
                x, y, w = p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1]), p[3] + t * (q[3] - p[3])
                if not w > 0 or not np.isfinite(x / w) or not np.isfinite(y / w):
                    return 0, width, 0, height
                x_low, x_high = min(x_low, x / w), max(x_high, x / w)
                y_low, y_high = min(y_low, y / w), max(y_high, y / w)
    if x_low > x_high:
        return 0, 0, 0, 0
    # The cut points are rounded, so a pixel more on each side: the edges decide anyway.
    x_first, x_end = _clamped_range(x_low - 1, x_high + 1, width)
    y_first, y_end = _clamped_range(y_low - 1, y_high + 1, height)
    return x_first, x_end, y_first, y_end


@helper
@no_type_check
def _box(clip, screen, corners, size, closed):
    """Columns and rows, as half-open ranges, outside of which the triangle covers nothing that is to be drawn."""
    i, j, k = corners
    x0, x1, x2 = screen[i, 0], screen[j, 0], screen[k, 0]
    if np.isnan(x0 + x1 + x2):
        if not (clip[i, 3] > 0 or clip[j, 3] > 0 or clip[k, 3] > 0):
            return 0, 0, 0, 0
        points = (_homogeneous(clip, i, size), _homogeneous(clip, j, size), _homogeneous(clip, k, size))
        return _box_general(points, size[0], size[1])
    x_first, x_end = _clamped_range(min(x0, x1, x2), max(x0, x1, x2), size[0])
    if x_end <= x_first:
        return 0, 0, 0, 0
    y0, y1, y2 = screen[i, 1], screen[j, 1], screen[k, 1]
    if closed and (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) > 0:  # clockwise in the picture, whose rows go down
        return 0, 0, 0, 0
    y_first, y_end = _clamped_range(min(y0, y1, y2), max(y0, y1, y2), size[1])
    return x_first, x_end, y_first, y_end


@kernel
@no_type_check
def count_bands(clip, screen, faces, size, closed, rows, counts):
    """Find each triangle's rows (views, F, 2) and how many triangles of each chunk reach each band.

    Of a `closed` surface, triangles seen from behind are left out. `counts` (views, bands, chunks) starts at zero.
    """
    count = faces.shape[0]
    for task in prange(clip.shape[0] * CHUNKS):
        view, chunk = task // CHUNKS, task % CHUNKS
        for f in range(chunk * count // CHUNKS, (chunk + 1) * count // CHUNKS):
            corners = (faces[f, 0], faces[f, 1], faces[f, 2])
            x_first, x_end, y_first, y_end = _box(clip[view], screen[view], corners, size, closed)
            if x_end <= x_first or y_end <= y_first:
                y_first, y_end = 0, 0
            rows[view, f, 0] = y_first
            rows[view, f, 1] = y_end
            if y_end > y_first:
                for band in range(y_first // BAND_ROWS, (y_end - 1) // BAND_ROWS + 1):
                    counts[view, band, chunk] += 1


@kernel
@no_type_check
def fill_bands(rows, starts, lists):
    """Write each band's triangles into `lists`, ascending; `starts` (views, bands, chunks) is used up."""
    count = rows.shape[1]
    for task in prange(rows.shape[0] * CHUNKS):
        view, chunk = task // CHUNKS, task % CHUNKS
        for f in range(chunk * count // CHUNKS, (chunk + 1) * count // CHUNKS):
            y_first, y_end = rows[view, f, 0], rows[view, f, 1]
            if y_end > y_first:
                for band in range(y_first // BAND_ROWS, (y_end - 1) // BAND_ROWS + 1):
                    lists[starts[view, band, chunk]] = f
                    starts[view, band, chunk] += 1
