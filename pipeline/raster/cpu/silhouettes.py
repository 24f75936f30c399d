"""Silhouette edges between neighbouring pixels: find them, blend across them, and differentiate.

After "Modular Primitives for High-Performance Differentiable Rendering" (Laine et al., 2020, section 3.5): where
two neighbouring pixels show different triangles, the nearer one owns the edge in between; if a silhouette
edge crosses the line between both centres at the distance d (0 = owner, 1 = the other), the owner's colour
covers d, and alpha = d - 1/2 of it moves across. Laine et al. look at the edges of the owner's triangle
only. Here the line is walked on over the neighbouring faces until it leaves the surface: on dense meshes, whose
triangles are smaller than a pixel, the silhouette hardly ever belongs to a triangle that a pixel sees.
Most neighbours of a dense mesh show different triangles and no silhouette lies between them: so first the few
silhouette edges are drawn as marks on the pairs that they cross, and only there anything is walked.

Horizontal lines take edges that are closer to vertical, vertical lines the rest, so that an edge counts once.
"""

# ruff: noqa: ANN001, ANN201, ANN202, PLR0913 - numba infers the types, and kernels take arrays, not objects

import numpy as np

from pipeline.raster.cpu.jit import helper, kernel, no_type_check, prange

CHUNKS = 16
# How far a crossing may seem off its pixel pair by rounding; a pair marked in vain costs one walk.
_SLACK_PX = 1e-3
RIGHT, DOWN = 0, 1


@kernel
@no_type_check
def find_windings(clip, faces, signs):
    """Write per view and face on which side of its edges the inside lies: 1, -1, or 0 when seen edge-on."""
    for task in prange(clip.shape[0] * CHUNKS):
        view, chunk = task // CHUNKS, task % CHUNKS
        for f in range(chunk * faces.shape[0] // CHUNKS, (chunk + 1) * faces.shape[0] // CHUNKS):
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            x0, y0, w0 = np.float64(clip[view, i, 0]), np.float64(clip[view, i, 1]), np.float64(clip[view, i, 3])
            x1, y1, w1 = np.float64(clip[view, j, 0]), np.float64(clip[view, j, 1]), np.float64(clip[view, j, 3])
            x2, y2, w2 = np.float64(clip[view, k, 0]), np.float64(clip[view, k, 1]), np.float64(clip[view, k, 3])
            det = (x1 * y2 - x2 * y1) * w0 + (x2 * y0 - x0 * y2) * w1 + (x0 * y1 - x1 * y0) * w2
            signs[view, f] = 1 if det > 0 else (-1 if det < 0 else 0)


@helper
@no_type_check
def _is_silhouette(signs, neighbours, f, e):
    """Whether a surface ends or folds over at edge e of face f; both faces of an edge give the same answer."""
    across = neighbours[f, e]
    if across < 0:
        return True
    other = signs[across // 2] if across % 2 == 0 else -signs[across // 2]
    return other != signs[f]


@helper
@no_type_check
def _mark_edge(clip, i, j, marks):
    """Mark the pairs of pixels whose connecting line the edge from vertex i to j may cross."""
    height, width = marks.shape[1], marks.shape[2]
    wp, wq = np.float64(clip[i, 3]), np.float64(clip[j, 3])
    if not (wp > 0 and wq > 0):
        if wp > 0 or wq > 0:
            marks[:] = 1  # it reaches behind the camera: anywhere
        return
    x0, y0 = (clip[i, 0] / wp + 1) * (0.5 * width) - 0.5, (clip[i, 1] / wp + 1) * (0.5 * height) - 0.5
    x1, y1 = (clip[j, 0] / wq + 1) * (0.5 * width) - 0.5, (clip[j, 1] / wq + 1) * (0.5 * height) - 0.5
    _mark_crossings((x0, y0), (x1, y1), (width, height), marks[RIGHT])
    _mark_crossings((y0, x0), (y1, x1), (height, width), marks[DOWN].T)


@helper
@no_type_check
def _mark_crossings(start, end, size, marks):
    """Mark (row, x) where the segment crosses a row between the centres x and x + 1, or nearly so."""
    if end[1] < start[1]:
        start, end = end, start
    if not (end[1] >= 0 and start[1] <= size[1] - 1):
        return
    first, last = max(0.0, np.ceil(start[1] - _SLACK_PX)), min(size[1] - 1.0, np.floor(end[1] + _SLACK_PX))
    rise = end[1] - start[1]
    for row in range(int(first), int(last) + 1):
        t = min(max((row - start[1]) / rise, 0.0), 1.0) if rise > _SLACK_PX else 0.0
        x = start[0] + t * (end[0] - start[0])
        x_last = x if rise > _SLACK_PX else end[0]  # along the row: the whole segment
        if max(x, x_last) >= -1 and min(x, x_last) < size[0]:
            low = max(0, int(np.floor(max(min(x, x_last) - _SLACK_PX, 0.0))))
            high = min(size[0] - 2, int(np.floor(min(max(x, x_last) + _SLACK_PX, np.float64(size[0])))))
            for column in range(low, high + 1):
                marks[row, column] = 1


@kernel
@no_type_check
def mark_silhouettes(clip, faces, neighbours, signs, marks):
    """Mark (views, 2, height, width) the pairs with the right and with the lower pixel that a silhouette may cross.

    `marks` starts at zero. Threads may write one mark twice, always 1.
    """
    for task in prange(clip.shape[0] * CHUNKS):
        view, chunk = task // CHUNKS, task % CHUNKS
        for f in range(chunk * faces.shape[0] // CHUNKS, (chunk + 1) * faces.shape[0] // CHUNKS):
            for e in range(3):
                across = neighbours[f, e]
                if (across < 0 or across // 2 > f) and _is_silhouette(signs[view], neighbours, f, e):
                    _mark_edge(clip[view], faces[f, (e + 1) % 3], faces[f, (e + 2) % 3], marks[view])


@kernel
@no_type_check
def count_marks(marks, counts):
    """Count the marks of each row (views * height)."""
    height = marks.shape[2]
    for row in prange(marks.shape[0] * height):
        view, y = row // height, row % height
        count = 0
        for x in range(marks.shape[3]):
            count += marks[view, RIGHT, y, x] + marks[view, DOWN, y, x]
        counts[row] = count


@helper
@no_type_check
def _seen_from(clip, i, pixel, size):
    """Corner i as (X, Y, w) in pixels, with the centre of a pixel (x, y) as the origin."""
    w = np.float64(clip[i, 3])
    x = clip[i, 0] * (0.5 * size[0]) + w * (0.5 * (size[0] - 1) - pixel[0])
    y = clip[i, 1] * (0.5 * size[1]) + w * (0.5 * (size[1] - 1) - pixel[1])
    return x, y, w


@helper
@no_type_check
def _edge(p, q):
    """The edge function (A, B, C) of two corners."""
    return p[1] * q[2] - q[1] * p[2], q[0] * p[2] - p[0] * q[2], p[0] * q[1] - q[0] * p[1]


@helper
@no_type_check
def _exit(edges, sign, step, entry):
    """Through which edge the line from the origin by `step` leaves a triangle, and where; -1 if it ends inside.

    The edge `entry` is left out: the line came in there.
    """
    nearest, exit_edge = 2.0, -1
    for e in range(3):
        at_origin = sign * edges[e][2]
        at_end = at_origin + sign * (edges[e][0] * step[0] + edges[e][1] * step[1])
        if e != entry and at_end < 0 and at_end < at_origin:
            d = at_origin / (at_origin - at_end)
            if d < nearest:
                nearest, exit_edge = d, e
    return exit_edge, nearest


@helper
@no_type_check
def _edge_between(faces, f, i, j):
    """Which edge of face f runs between two vertices."""
    for e in range(3):
        a, b = faces[f, (e + 1) % 3], faces[f, (e + 2) % 3]
        if (a == i and b == j) or (a == j and b == i):
            return e
    return -1


@helper
@no_type_check
def _walk(scene, f, target, pixel, step, size, search):
    """Walk from a pixel's triangle f towards the neighbouring pixel, which shows `target`, until a silhouette edge.

    Returns the edge's vertices and the distance; no vertices (-1) if the surface goes on, if `search`
    further faces did not reach its end, or if the edge is a matter of the other direction.
    """
    clip, faces, neighbours, signs = scene
    entry = -1
    for _ in range(search + 1):
        p = _seen_from(clip, faces[f, 0], pixel, size)
        q = _seen_from(clip, faces[f, 1], pixel, size)
        r = _seen_from(clip, faces[f, 2], pixel, size)
        edges = (_edge(q, r), _edge(r, p), _edge(p, q))
        edge, d = _exit(edges, signs[f], step, entry)
        if edge < 0:
            break
        i, j = faces[f, (edge + 1) % 3], faces[f, (edge + 2) % 3]
        across = neighbours[f, edge]
        # What covers the other centre lies beyond the edge: no fold.
        if across >= 0 and across // 2 == target:
            break
        if _is_silhouette(signs, neighbours, f, edge):
            upright = (abs(edges[edge][0]) >= abs(edges[edge][1])) == (step[0] != 0)
            return (i, j, d) if upright else (-1, -1, 0.0)
        f = across // 2
        entry = _edge_between(faces, f, i, j)
    return -1, -1, 0.0


@helper
@no_type_check
def _find_in_row(scene, rast, marks, y, search, records):
    """Look for silhouettes between row y and its right and lower neighbours."""
    owners, steps, ends, alphas = records
    height, width = rast.shape[0], rast.shape[1]
    n = 0
    for x in range(width):
        for down in range(2):
            if marks[down, y, x] == 0:
                continue
            steps[n] = -1
            x_other, y_other = x + 1 - down, y + down
            if x_other < width and y_other < height and rast[y, x, 3] != rast[y_other, x_other, 3]:
                this_id, other_id = int(rast[y, x, 3]) - 1, int(rast[y_other, x_other, 3]) - 1
                here = other_id < 0 or (this_id >= 0 and rast[y, x, 2] <= rast[y_other, x_other, 2])
                owner = (x, y) if here else (x_other, y_other)
                away = 1.0 if here else -1.0
                step = (away * (1 - down), away * down)
                f, target = (this_id, other_id) if here else (other_id, this_id)
                i, j, d = _walk(scene, f, target, owner, step, (width, height), search)
                if i >= 0:
                    owners[n] = owner[1] * width + owner[0]
                    steps[n] = 2 * down if here else 2 * down + 1
                    ends[n, 0] = i
                    ends[n, 1] = j
                    alphas[n] = min(max(d, 0.0), 1.0) - 0.5
            n += 1


@kernel
@no_type_check
def find_silhouettes(clip, faces, neighbours, signs, rast, marks, search, starts, owners, steps, ends, alphas):
    """Write one record per mark, in the order of the rows; steps = -1: no silhouette.

    Owner's pixel (row * width + column); step to the other pixel (0 right, 1 left, 2 down, 3 up); the edge's
    vertices; alpha. `starts` holds each row's first record, and their number at the end.
    """
    height = rast.shape[1]
    for row in prange(rast.shape[0] * height):
        view, y = row // height, row % height
        first, end = starts[row], starts[row + 1]
        if end > first:
            records = (owners[first:end], steps[first:end], ends[first:end], alphas[first:end])
            scene = (clip[view], faces, neighbours, signs[view])
            _find_in_row(scene, rast[view], marks[view], y, search, records)


@helper
@no_type_check
def _other_pixel(owner, step, width):
    """The pixel on the other side of a pair."""
    if step < 2:
        return owner + 1 - 2 * step
    return owner + (5 - 2 * step) * width


@kernel
@no_type_check
def blend(color, width, view_ends, owners, steps, alphas, out):
    """Move colour (views, pixels, channels) across the silhouettes; `out` starts as a copy of `color`."""
    for view in prange(color.shape[0]):
        for n in range(view_ends[view], view_ends[view + 1]):
            owner, other = owners[n], _other_pixel(owners[n], steps[n], width)
            target = other if alphas[n] > 0 else owner
            for c in range(color.shape[2]):
                out[view, target, c] += alphas[n] * (color[view, owner, c] - color[view, other, c])


@helper
@no_type_check
def _add_edge(clip, i, j, pixel, step, d, grad_alpha, size, grad):
    """Add the gradient of one crossing to the clip positions of the edge's two vertices.

    d = -C / M with C at the owner's centre and M = A or B along the step.
    """
    p, q = _seen_from(clip, i, pixel, size), _seen_from(clip, j, pixel, size)
    a, b, _ = _edge(p, q)
    along_x = step < 2
    away = 1.0 if step % 2 == 0 else -1.0
    slope = a if along_x else b
    if slope == 0:
        return
    grad_c, grad_slope = -grad_alpha * away / slope, -grad_alpha * d / slope
    px, py, pw = grad_c * q[1], -grad_c * q[0], 0.0
    qx, qy, qw = -grad_c * p[1], grad_c * p[0], 0.0
    if along_x:
        py, pw, qy, qw = py + grad_slope * q[2], -grad_slope * q[1], qy - grad_slope * p[2], grad_slope * p[1]
    else:
        px, pw, qx, qw = px - grad_slope * q[2], grad_slope * q[0], qx + grad_slope * p[2], -grad_slope * p[0]
    to_w_x, to_w_y = 0.5 * (size[0] - 1) - pixel[0], 0.5 * (size[1] - 1) - pixel[1]
    grad[i, 0] += px * (0.5 * size[0])
    grad[i, 1] += py * (0.5 * size[1])
    grad[i, 3] += pw + px * to_w_x + py * to_w_y
    grad[j, 0] += qx * (0.5 * size[0])
    grad[j, 1] += qy * (0.5 * size[1])
    grad[j, 3] += qw + qx * to_w_x + qy * to_w_y


@kernel
@no_type_check
def blend_backward(clip, color, size, view_ends, owners, steps, ends, alphas, grad_out, grad_color, grad):
    """Gradients of `blend`: `grad_color` starts as a copy of `grad_out`, `grad` (views, vertices, 4) at zero."""
    width = size[0]
    for view in prange(color.shape[0]):
        for n in range(view_ends[view], view_ends[view + 1]):
            owner, other = owners[n], _other_pixel(owners[n], steps[n], width)
            target = other if alphas[n] > 0 else owner
            grad_alpha = 0.0
            for c in range(color.shape[2]):
                g = np.float64(grad_out[view, target, c])
                grad_alpha += g * (np.float64(color[view, owner, c]) - np.float64(color[view, other, c]))
                grad_color[view, owner, c] += alphas[n] * g
                grad_color[view, other, c] -= alphas[n] * g
            pixel = (owner % width, owner // width)
            d = alphas[n] + 0.5
            _add_edge(clip[view], ends[n, 0], ends[n, 1], pixel, steps[n], d, grad_alpha, size, grad[view])
