"""Coverage kernels: which triangle does each pixel centre see?

Triangles are scanned by row spans in float64. Where an edge crosses a row is computed from the edge alone,
in an order that does not depend on the triangle, so both triangles that share it get the same number, and
`ceil` deals every pixel centre out to exactly one of them: left edges are inclusive, right edges exclusive,
and a horizontal edge belongs to the triangle below it. A row through a vertex uses only the edges that hang
below the vertex, and for those the crossing is the vertex itself.

Corners behind the camera, or too far off the image to be projected, take part through homogeneous edge
functions (Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997): with
p = (X, Y, w), the edge p_j x p_k = (A, B, C) has A x + B y + C of one sign inside, whatever the signs of w.
So nothing is clipped geometrically; the near and far planes are tested per pixel.

In here a pixel's centre has integer coordinates (x, y); rows grow with NDC y. The result depends on the
triangles' order only (ties go to the lowest index), never on how the work was divided.
"""

# ruff: noqa: ANN001, ANN201, ANN202, PLR0913 - numba infers the types, and kernels take arrays, not objects

import numpy as np

from pipeline.raster.cpu.jit import helper, kernel, no_type_check, prange

BAND_ROWS = 16
CHUNKS = 16
JUST_BEYOND_FAR = np.nextafter(1.0, 2.0)
# A corner farther off is not projected: its pixel coordinates would round more coarsely than 1e-10 px.
_FAR_PX = 2.0**20


@kernel
@no_type_check
def project(clip, width, height, points):
    """Turn clip positions (P, 4) into points (P, 6): X, Y, z, w and the pixel coordinates X/w, Y/w.

    X/w and Y/w are nan where the point has no place near the image: not in front of the camera, far off
    the image, or not finite.
    """
    for p in prange(clip.shape[0]):
        w = np.float64(clip[p, 3])
        x = np.float64(clip[p, 0]) * (0.5 * width) + w * (0.5 * (width - 1))
        y = np.float64(clip[p, 1]) * (0.5 * height) + w * (0.5 * (height - 1))
        points[p, 0] = x
        points[p, 1] = y
        points[p, 2] = np.float64(clip[p, 2])
        points[p, 3] = w
        near = w > 0 and abs(x / w) <= _FAR_PX and abs(y / w) <= _FAR_PX
        points[p, 4] = x / w if near else np.nan
        points[p, 5] = y / w if near else np.nan


@helper
@no_type_check
def _corners(points, faces, f):
    """The three points of a triangle as tuples: views of the array would be counted references."""
    i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
    return _point(points, i), _point(points, j), _point(points, k)


@helper
@no_type_check
def _point(points, i):
    """One point as a tuple (X, Y, z, w, X/w, Y/w)."""
    return points[i, 0], points[i, 1], points[i, 2], points[i, 3], points[i, 4], points[i, 5]


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
def _box(corners, width, height):
    """Columns and rows, as half-open ranges, outside of which the triangle covers nothing."""
    p, q, r = corners
    if np.isnan(p[4] + q[4] + r[4]):
        if not (p[3] > 0 or q[3] > 0 or r[3] > 0):
            return 0, 0, 0, 0
        return _box_general(corners, width, height)
    x_first, x_end = _clamped_range(min(p[4], q[4], r[4]), max(p[4], q[4], r[4]), width)
    y_first, y_end = _clamped_range(min(p[5], q[5], r[5]), max(p[5], q[5], r[5]), height)
    return x_first, x_end, y_first, y_end


@kernel
@no_type_check
def count_bands(points, faces, size, rows, counts):
    """Find each triangle's rows (views, F, 2) and how many triangles of each chunk reach each band.

    `counts` (views, bands, chunks) starts at zero.
    """
    width, height = size
    count = faces.shape[0]
    for task in prange(points.shape[0] * CHUNKS):
        view, chunk = task // CHUNKS, task % CHUNKS
        for f in range(chunk * count // CHUNKS, (chunk + 1) * count // CHUNKS):
            x_first, x_end, y_first, y_end = _box(_corners(points[view], faces, f), width, height)
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


@helper
@no_type_check
def _edge(x0, y0, w0, x1, y1, w1):
    """The edge function (A, B, C) = p0 x p1; exactly negated when the points are swapped."""
    return y0 * w1 - y1 * w0, x1 * w0 - x0 * w1, x0 * y1 - x1 * y0


@helper
@no_type_check
def _crossing(x0, y0, x1, y1, y):
    """Where the segment between two projected corners crosses row y; the same whichever corner comes first."""
    if y1 < y0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    x = x0 + ((y - y0) * (x1 - x0)) / (y1 - y0)
    return min(max(x, min(x0, x1)), max(x0, x1))


@helper
@no_type_check
def _span_near(p, q, r, y):
    """The span of row y when all corners are projected, sorted by their row, and y is in [p's, r's)."""
    x_long = _crossing(p[4], p[5], r[4], r[5], y)
    x_short = _crossing(p[4], p[5], q[4], q[5], y) if y < q[5] else _crossing(q[4], q[5], r[4], r[5], y)
    return min(x_long, x_short), max(x_long, x_short)


@helper
@no_type_check
def _narrow(p, q, sign, y, span):
    """Cut the span (low, high) of row y by the edge from p to q, of which any corner may be unprojected.

    The span's third number counts the edges that begin at a projected corner and reach the row.
    """
    low, high, reached = span
    a, b, c = _edge(p[0], p[1], p[3], q[0], q[1], q[3])
    p_near, q_near = not np.isnan(p[4]), not np.isnan(q[4])
    if p_near and q_near:
        if (y < p[5]) == (y < q[5]):
            return span
        a = p[5] - q[5]
        x = _crossing(p[4], p[5], q[4], q[5], y)
        reached += 1
    elif p_near or q_near:
        # A ray from the projected corner; on the image (b, -a) points from p towards q.
        start = p if p_near else q
        down = -a if p_near else a
        if (y >= start[5]) != (down > 0) or a == 0:
            return span
        x = start[4] + ((y - start[5]) * b) / -a
        reached += 1
    elif a == 0:
        value = sign * (b * y + c)
        inside = value > 0 or (value == 0 and sign * b > 0)
        return low, high if inside else low, reached
    else:
        x = -(b * y + c) / a
    return (max(low, x), high, reached) if sign * a > 0 else (low, min(high, x), reached)


@helper
@no_type_check
def _span_general(p, q, r, sign, y, width):
    """The span of row y when some corner is not projected."""
    span = _narrow(p, q, sign, y, (0.0, np.float64(width), 0))
    span = _narrow(q, r, sign, y, span)
    low, high, reached = _narrow(r, p, sign, y, span)
    if reached == 0 and not (np.isnan(p[4]) and np.isnan(q[4]) and np.isnan(r[4])):
        # Beyond a projected corner from which both edges lead away.
        return low, low
    # Written so that nan fails.
    return (low, high) if low < high else (0.0, 0.0)


@helper
@no_type_check
def _depth_plane(p, q, r, x_origin, y_origin):
    """z/w as value at the origin and slopes, and the determinant, whose sign tells the winding.

    Relative to an origin near the triangle and to one corner's depth, so that slivers keep their precision.
    """
    x0, y0, w0 = p[0] - x_origin * p[3], p[1] - y_origin * p[3], p[3]
    x1, y1, w1 = q[0] - x_origin * q[3], q[1] - y_origin * q[3], q[3]
    x2, y2, w2 = r[0] - x_origin * r[3], r[1] - y_origin * r[3], r[3]
    a0, b0, c0 = _edge(x1, y1, w1, x2, y2, w2)
    a1, b1, c1 = _edge(x2, y2, w2, x0, y0, w0)
    a2, b2, c2 = _edge(x0, y0, w0, x1, y1, w1)
    det = c0 * w0 + c1 * w1 + c2 * w2
    base = p[2] / w0 if w0 > 0 else 0.0
    z0, z1, z2 = p[2] - base * w0, q[2] - base * w1, r[2] - base * w2
    value = base + (c0 * z0 + c1 * z1 + c2 * z2) / det
    return value, (a0 * z0 + a1 * z1 + a2 * z2) / det, (b0 * z0 + b1 * z1 + b2 * z2) / det, det


@helper
@no_type_check
def _origin(p, width, height):
    """The pixel next to the first corner, inside the image; its centre when the corner has no pixel."""
    if np.isnan(p[4]):
        return np.rint(0.5 * width), np.rint(0.5 * height)
    return np.rint(min(max(p[4], 0.0), np.float64(width))), np.rint(min(max(p[5], 0.0), np.float64(height)))


@helper
@no_type_check
def _scan(f, plane, columns, y, ids, depth, behind_ids, behind_depth):
    """Depth-test one span; when peeling, only what lies behind the previous layer counts."""
    z_row, slope, x_origin = plane
    peeling = behind_depth.shape[0] > 0
    for x in range(columns[0], columns[1]):
        z = z_row + slope * (x - x_origin)
        if z >= -1.0 and z < depth[y, x]:
            if peeling:
                last = behind_depth[y, x]
                if z < last or (z == last and f <= behind_ids[y, x]):
                    continue
            depth[y, x] = z
            ids[y, x] = f


@helper
@no_type_check
def _sorted_by_row(p, q, r):
    """The three corners, topmost first."""
    if q[5] < p[5]:
        p, q = q, p
    if r[5] < q[5]:
        q, r = r, q
    if q[5] < p[5]:
        p, q = q, p
    return p, q, r


@helper
@no_type_check
def _winding(p, q, r):
    """The sign of the determinant: on which side of its edges the triangle lies; 0 when degenerate."""
    _, _, _, det = _depth_plane(p, q, r, 0.0, 0.0)
    return np.sign(det) if np.isfinite(det) else 0.0


@helper
@no_type_check
def _cover(corners, f, row_range, ids, depth, behind_ids, behind_depth):
    """Draw one triangle into the rows of one band."""
    p, q, r = corners
    height, width = ids.shape
    near = not np.isnan(p[4] + q[4] + r[4])
    top, middle, bottom = _sorted_by_row(p, q, r)
    sign = 0.0 if near else _winding(p, q, r)
    if not near and sign == 0:
        return
    x_origin, y_origin = _origin(p, width, height)
    # Most small triangles miss all centres: the plane waits for the first one that is hit.
    z_origin, slope_x, slope_y, det = 0.0, 0.0, 0.0, 0.0
    for y in range(row_range[0], row_range[1]):
        if near:
            low, high = _span_near(top, middle, bottom, y)
        else:
            low, high = _span_general(p, q, r, sign, y, width)
        first, end = int(np.ceil(max(low, 0.0))), int(np.ceil(min(high, np.float64(width))))
        if first < end:
            if det == 0:
                z_origin, slope_x, slope_y, det = _depth_plane(p, q, r, x_origin, y_origin)
                if not (abs(det) > 0 and np.isfinite(det)):
                    return
            plane = (z_origin + slope_y * (y - y_origin), slope_x, x_origin)
            _scan(f, plane, (first, end), y, ids, depth, behind_ids, behind_depth)


@helper
@no_type_check
def _cover_band(points, faces, rows, listed, band, ids, depth, behind_ids, behind_depth):
    """Draw the listed triangles, in order, into one band of one view."""
    first = band * BAND_ROWS
    end = min(first + BAND_ROWS, ids.shape[0])
    ids[first:end] = -1
    depth[first:end] = JUST_BEYOND_FAR
    for f in listed:
        row_range = (max(first, rows[f, 0]), min(end, rows[f, 1]))
        _cover(_corners(points, faces, f), f, row_range, ids, depth, behind_ids, behind_depth)


@kernel
@no_type_check
def cover_bands(points, faces, rows, band_ends, lists, order, ids, depth, behind_ids, behind_depth):
    """Draw all bands: nearest triangle (-1 = none) and its z/w per pixel.

    `band_ends` (views * bands + 1) cuts `lists`; `order` permutes the bands so that neighbours, which tend
    to cost alike, fall to different threads. `behind_*` are the previous layer's ids and depths, or (views, 0, 0).
    """
    bands = (ids.shape[1] + BAND_ROWS - 1) // BAND_ROWS
    for turn in prange(order.shape[0]):
        task = order[turn]
        v, band = task // bands, task % bands
        listed = lists[band_ends[task] : band_ends[task + 1]]
        _cover_band(points[v], faces, rows[v], listed, band, ids[v], depth[v], behind_ids[v], behind_depth[v])
