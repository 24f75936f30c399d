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

JUST_BEYOND_FAR = np.nextafter(1.0, 2.0)


@helper
@no_type_check
def _point(clip, screen, i, size):
    """One corner as a tuple (X, Y, z, w, X/w, Y/w), the last two nan where it is not projected."""
    w = np.float64(clip[i, 3])
    x = np.float64(clip[i, 0]) * (0.5 * size[0]) + w * (0.5 * (size[0] - 1))
    y = np.float64(clip[i, 1]) * (0.5 * size[1]) + w * (0.5 * (size[1] - 1))
    return x, y, np.float64(clip[i, 2]), w, screen[i, 0], screen[i, 1]


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
    x = x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
    return min(max(x, min(x0, x1)), max(x0, x1))


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
def _scan(f, plane, columns, ids, depth):
    """Depth-test one span of a row; without branches, as closer and farther pixels come in no order."""
    z_row, slope, x_origin = plane
    for x in range(np.uint64(columns[0]), np.uint64(columns[1])):
        z, before = z_row + slope * (np.int64(x) - x_origin), depth[x]
        closer = (z >= -1.0) & (z < before)
        depth[x] = z if closer else before
        ids[x] = f if closer else ids[x]


@helper
@no_type_check
def _scan_behind(f, plane, columns, ids, depth, behind_ids, behind_depth):
    """Depth-test one span of a row among what lies behind the previous layer."""
    z_row, slope, x_origin = plane
    for x in range(columns[0], columns[1]):
        z, last = z_row + slope * (x - x_origin), behind_depth[x]
        if -1.0 <= z < depth[x] and (z > last or (z == last and f > behind_ids[x])):
            depth[x] = z
            ids[x] = f


@helper
@no_type_check
def _sorted_by_row(p, q, r):
    """The three corners, topmost first."""
    if q[1] < p[1]:
        p, q = q, p
    if r[1] < q[1]:
        q, r = r, q
    if q[1] < p[1]:
        p, q = q, p
    return p, q, r


@helper
@no_type_check
def _screen_plane(p, q, r):
    """Slopes of z/w along the columns and rows of a projected triangle; not finite without an area."""
    across = 1 / ((q[0] - p[0]) * (r[1] - p[1]) - (r[0] - p[0]) * (q[1] - p[1]))
    to_q, to_r = q[2] - p[2], r[2] - p[2]
    return (to_q * (r[1] - p[1]) - to_r * (q[1] - p[1])) * across, (
        to_r * (q[0] - p[0]) - to_q * (r[0] - p[0])
    ) * across


@helper
@no_type_check
def _cover_near(corners, f, row_range, width, ids, depth, behind_ids, behind_depth):
    """Draw a triangle of which all corners (column, row, z/w) are projected into the rows of one band.

    Both crossings of a row repeat `_crossing`, with each edge's slope taken once.
    """
    first = row_range[2]
    p, q, r = _sorted_by_row(corners[0], corners[1], corners[2])
    long_slope = (r[0] - p[0]) / (r[1] - p[1])
    long_low, long_high = min(p[0], r[0]), max(p[0], r[0])
    # Most small triangles miss all centres: the plane waits for the first one that is hit.
    slope_x, slope_y, planned = 0.0, 0.0, False
    for half in range(2):
        a, b = (p, q) if half == 0 else (q, r)
        begin_row, end_row = max(row_range[0], int(np.ceil(a[1]))), min(row_range[1], int(np.ceil(b[1])))
        if begin_row >= end_row:
            continue
        slope, low, high = (b[0] - a[0]) / (b[1] - a[1]), min(a[0], b[0]), max(a[0], b[0])
        for y in range(begin_row, end_row):
            x_long = min(max(p[0] + (y - p[1]) * long_slope, long_low), long_high)
            x_short = min(max(a[0] + (y - a[1]) * slope, low), high)
            begin = int(np.ceil(max(min(x_long, x_short), 0.0)))
            end = int(np.ceil(min(max(x_long, x_short), np.float64(width))))
            if begin < end:
                if not planned:
                    slope_x, slope_y = _screen_plane(p, q, r)
                    planned = True
                plane = (p[2] + slope_y * (y - p[1]), slope_x, p[0])
                n = y - first
                if behind_depth.shape[0] == 0:
                    _scan(f, plane, (begin, end), ids[n], depth[n])
                else:
                    _scan_behind(f, plane, (begin, end), ids[n], depth[n], behind_ids[n], behind_depth[n])


@helper
@no_type_check
def _winding(p, q, r):
    """The sign of the determinant: on which side of its edges the triangle lies; 0 when degenerate."""
    _, _, _, det = _depth_plane(p, q, r, 0.0, 0.0)
    return np.sign(det) if np.isfinite(det) else 0.0


@helper
@no_type_check
def _cover_general(corners, f, row_range, size, ids, depth, behind_ids, behind_depth):
    """Draw a triangle of which some corner is not projected into the rows of one band."""
    p, q, r = corners
    width, first = size[0], row_range[2]
    sign = _winding(p, q, r)
    if sign == 0:
        return
    x_origin, y_origin = _origin(p, width, size[1])
    z_origin, slope_x, slope_y, det = _depth_plane(p, q, r, x_origin, y_origin)
    if not (abs(det) > 0 and np.isfinite(det)):
        return
    for y in range(row_range[0], row_range[1]):
        low, high = _span_general(p, q, r, sign, y, width)
        begin, end = int(np.ceil(max(low, 0.0))), int(np.ceil(min(high, np.float64(width))))
        if begin < end:
            plane = (z_origin + slope_y * (y - y_origin), slope_x, x_origin)
            n = y - first
            if behind_depth.shape[0] == 0:
                _scan(f, plane, (begin, end), ids[n], depth[n])
            else:
                _scan_behind(f, plane, (begin, end), ids[n], depth[n], behind_ids[n], behind_depth[n])


@helper
@no_type_check
def _resolve_row(clip, faces, y, size, ids, depth, rast):
    """Write u, v, z/w, id + 1 of a row: perspective-correct u, v, clamped to the simplex.

    With the corners p_i = (X_i, Y_i, w_i) seen from the pixel, the weights are e_i / sum e with e_0 = X_1 Y_2 - X_2 Y_1
    and its rotations. Along the pixels of one triangle these are linear.
    """
    x, width = 0, ids.shape[0]
    half_width, half_height, to_row = 0.5 * size[0], 0.5 * size[1], 0.5 * (size[1] - 1) - y
    while x < width:
        f = ids[x]
        if f < 0:
            rast[x, 0] = 0
            rast[x, 1] = 0
            rast[x, 2] = 0
            rast[x, 3] = 0
            x += 1
            continue
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        to_column = 0.5 * (size[0] - 1) - x
        w0, w1, w2 = np.float64(clip[i, 3]), np.float64(clip[j, 3]), np.float64(clip[k, 3])
        x0, y0 = clip[i, 0] * half_width + w0 * to_column, clip[i, 1] * half_height + w0 * to_row
        x1, y1 = clip[j, 0] * half_width + w1 * to_column, clip[j, 1] * half_height + w1 * to_row
        x2, y2 = clip[k, 0] * half_width + w2 * to_column, clip[k, 1] * half_height + w2 * to_row
        a0, e0 = y1 * w2 - y2 * w1, x1 * y2 - x2 * y1
        a1, e1 = y2 * w0 - y0 * w2, x2 * y0 - x0 * y2
        a2, e2 = y0 * w1 - y1 * w0, x0 * y1 - x1 * y0
        total, slope = e0 + e1 + e2, a0 + a1 + a2
        start = x
        while x < width and ids[x] == f:
            along = x - start
            sum_ = total + slope * along
            scale = 1 / sum_ if sum_ != 0 else 0.0
            u = min(max((e0 + a0 * along) * scale, 0.0), 1.0)
            v = min(max((e1 + a1 * along) * scale, 0.0), 1.0 - u)
            rast[x, 0] = u
            rast[x, 1] = v
            rast[x, 2] = depth[x]
            rast[x, 3] = f + 1
            x += 1


@helper
@no_type_check
def _draw_band(scene, rows, listed, extent, kept_ids, kept_depth, behind_ids, behind_depth, rast):
    """Draw the listed triangles, in order, into one band of one view, and resolve it while it is in the cache."""
    clip, screen, faces = scene
    first, end, size = extent
    ids = np.full((end - first, size[0]), -1, np.int32)
    depth = np.full((end - first, size[0]), JUST_BEYOND_FAR, np.float64)
    for f in listed:
        row_range = (max(first, rows[f, 0]), min(end, rows[f, 1]), first)
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        if np.isnan(screen[i, 0] + screen[j, 0] + screen[k, 0]):
            corners = (_point(clip, screen, i, size), _point(clip, screen, j, size), _point(clip, screen, k, size))
            _cover_general(corners, f, row_range, size, ids, depth, behind_ids, behind_depth)
        else:
            places = (
                (screen[i, 0], screen[i, 1], screen[i, 2]),
                (screen[j, 0], screen[j, 1], screen[j, 2]),
                (screen[k, 0], screen[k, 1], screen[k, 2]),
            )
            _cover_near(places, f, row_range, size[0], ids, depth, behind_ids, behind_depth)
    for n in range(end - first):
        _resolve_row(clip, faces, first + n, size, ids[n], depth[n], rast[n])
    for n in range(kept_ids.shape[0]):
        kept_ids[n] = ids[n]
        kept_depth[n] = depth[n]


@kernel
@no_type_check
def cover_bands(scene, rows, band_rows, band_ends, lists, order, kept, behind, rast):
    """Draw all bands: nearest triangle and its z/w per pixel, then u, v, z/w, id + 1 into `rast`.

    `scene` is clip positions (views, V, 4), their places on the screen (views, V, 3) and faces. Bands have `band_rows`
    rows; `band_ends` (views * bands + 1) cuts `lists`; `order` permutes the bands so that neighbours, which tend to
    cost alike, fall to different threads. `kept` are ids (-1 = none) and depth, for the next layer to lie behind, or
    (views, 0, width) both. `behind` are the previous layer's, or (views, 0, width).
    """
    clip, screen, faces = scene
    height, width = rast.shape[1], rast.shape[2]
    bands = (height + band_rows - 1) // band_rows
    for turn in prange(order.shape[0]):
        task = order[turn]
        v, band = task // bands, task % bands
        first, end = band * band_rows, min((band + 1) * band_rows, height)
        _draw_band(
            (clip[v], screen[v], faces),
            rows[v],
            lists[band_ends[task] : band_ends[task + 1]],
            (first, end, (width, height)),
            kept[0][v, first:end],
            kept[1][v, first:end],
            behind[0][v, first:end],
            behind[1][v, first:end],
            rast[v, first:end],
        )
