"""Kernels of the soft mode, which `raster.soft` defines: each pixel sees the triangles near it, and only those.

Forward, a band of rows takes its triangles in order and keeps, per pixel, a running softmax: the largest closeness so
far, the shares relative to it, and what coverage lets through. Backward, a triangle visits its pixels again and owns
the gradient of its corners; these are then added to the vertices in the triangles' order. So nothing depends on how
the work was divided. All is computed in float64; the centre of pixel (x, y) lies at (x + 1/2, y + 1/2).
"""

# ruff: noqa: ANN001, ANN201, ANN202, PLR0913 - numba infers the types, and kernels take arrays, not objects

import numpy as np

from pipeline.raster.cpu.bands import BAND_ROWS, CHUNKS
from pipeline.raster.cpu.jit import helper, kernel, no_type_check, prange, serial_kernel

# Columns of what is kept per pixel.
TOP, TOTAL, THROUGH = 0, 1, 2
# Columns of a corner's gradient before its attributes: on the screen, of z/w, and of w.
SCREEN_X, SCREEN_Y, DEPTH, W, ATTRIBUTES = 0, 1, 2, 3, 4


@helper
@no_type_check
def _corner(clip, i, size):
    """A corner as (X, Y, z/w, w), X and Y in pixels."""
    w = np.float64(clip[i, 3])
    x, y = np.float64(clip[i, 0]) / w, np.float64(clip[i, 1]) / w
    return (x + 1) * (0.5 * size[0]), (y + 1) * (0.5 * size[1]), np.float64(clip[i, 2]) / w, w


@helper
@no_type_check
def _cross(ax, ay, bx, by):
    return ax * by - ay * bx


@helper
@no_type_check
def _triangle(clip, faces, f, size):
    """The three corners and twice the signed area, which is 0 for a triangle that is left out."""
    p, q, r = _corner(clip, faces[f, 0], size), _corner(clip, faces[f, 1], size), _corner(clip, faces[f, 2], size)
    area = _cross(q[0] - p[0], q[1] - p[1], r[0] - p[0], r[1] - p[1])
    usable = p[3] > 0 and q[3] > 0 and r[3] > 0 and abs(area) > 1e-12 and np.isfinite(area)
    return (p, q, r), area if usable else 0.0


@helper
@no_type_check
def _within_reach(corners, axis, reach_px, size):
    """The columns (axis 0) or rows (axis 1), as a half-open range, with centres up to `reach_px` off the box."""
    a, b, c = corners[0][axis], corners[1][axis], corners[2][axis]
    first, end = np.ceil(min(a, b, c) - reach_px - 0.5), np.floor(max(a, b, c) + reach_px + 0.5)
    return int(min(max(first, 0.0), size)), int(min(max(end, 0.0), size))


@kernel
@no_type_check
def count_near(clip, faces, size, reach_px, rows, counts):
    """Find the rows (views, F, 2) that each triangle reaches, and how many triangles of each chunk reach each band.

    `counts` (views, bands, chunks) starts at zero.
    """
    count = faces.shape[0]
    for task in prange(clip.shape[0] * CHUNKS):
        view, chunk = task // CHUNKS, task % CHUNKS
        for f in range(chunk * count // CHUNKS, (chunk + 1) * count // CHUNKS):
            corners, area = _triangle(clip[view], faces, f, size)
            first, end = 0, 0
            if area != 0:
                first, end = _within_reach(corners, 1, reach_px, size[1])
            rows[view, f, 0] = first
            rows[view, f, 1] = end
            if end > first:
                for band in range(first // BAND_ROWS, (end - 1) // BAND_ROWS + 1):
                    counts[view, band, chunk] += 1


@helper
@no_type_check
def _to_edge(p, q, x, y):
    """Squared distance from a point to a segment, and where on it (0 at p, 1 at q) the nearest point lies."""
    along_x, along_y = q[0] - p[0], q[1] - p[1]
    t = ((x - p[0]) * along_x + (y - p[1]) * along_y) / max(along_x * along_x + along_y * along_y, 1e-24)
    t = min(max(t, 0.0), 1.0)
    off_x, off_y = x - p[0] - t * along_x, y - p[1] - t * along_y
    return off_x * off_x + off_y * off_y, t


@helper
@no_type_check
def _nearest(corners, area, x, y):
    """Squared distance to the outline, the edge (k from corner k to k + 1), the place on it, and whether inside.

    Then the weights, on the screen, of the triangle's point nearest to (x, y): itself, or the outline's.
    """
    p, q, r = corners
    squared, t = _to_edge(p, q, x, y)
    edge = 0
    other, place = _to_edge(q, r, x, y)
    if other < squared:
        squared, t, edge = other, place, 1
    other, place = _to_edge(r, p, x, y)
    if other < squared:
        squared, t, edge = other, place, 2
    b0 = _cross(r[0] - q[0], r[1] - q[1], x - q[0], y - q[1]) / area
    b1 = _cross(p[0] - r[0], p[1] - r[1], x - r[0], y - r[1]) / area
    b2 = _cross(q[0] - p[0], q[1] - p[1], x - p[0], y - p[1]) / area
    inside = b0 >= 0 and b1 >= 0 and b2 >= 0
    if not inside:
        s = 1 - t
        if edge == 0:
            b0, b1, b2 = s, t, 0.0
        elif edge == 1:
            b0, b1, b2 = 0.0, s, t
        else:
            b0, b1, b2 = t, 0.0, s
    return (squared, edge, t, inside), (b0, b1, b2)


@helper
@no_type_check
def _meet(corners, area, x, y, softness):
    """How a triangle meets a pixel: its outline, weights, (coverage, the rest), and closeness; no coverage if far."""
    sigma_px, gamma, reach = softness
    outline, weights = _nearest(corners, area, x + 0.5, y + 0.5)
    squared, inside = outline[0], outline[3]
    depth = weights[0] * corners[0][2] + weights[1] * corners[1][2] + weights[2] * corners[2][2]
    if not (inside or squared < (reach * sigma_px) ** 2) or not -1 <= depth <= 1:
        return outline, weights, (0.0, 1.0), 0.0
    small = np.exp(-squared / (sigma_px * sigma_px))
    more, less = 1 / (1 + small), small / (1 + small)
    covered = (more, less) if inside else (less, more)
    return outline, weights, covered, (1 - depth) / (2 * gamma)


@helper
@no_type_check
def _in_perspective(corners, weights):
    """The perspective-correct weights, and the sum of weight / w."""
    a, b, c = weights[0] / corners[0][3], weights[1] / corners[1][3], weights[2] / corners[2][3]
    total = a + b + c
    return (a / total, b / total, c / total), total


@helper
@no_type_check
def _blend(attributes, face, seen, covered, closeness, kept, color):
    """Add a triangle's share to one pixel's softmax."""
    if closeness > kept[TOP]:
        shrink = np.exp(kept[TOP] - closeness)
        kept[TOP] = closeness
        kept[TOTAL] *= shrink
        for c in range(color.shape[0]):
            color[c] *= shrink
    share = covered[0] * np.exp(closeness - kept[TOP])
    kept[TOTAL] += share
    kept[THROUGH] *= covered[1]
    w0, w1, w2 = share * seen[0], share * seen[1], share * seen[2]
    for c in range(color.shape[0]):
        color[c] += w0 * attributes[face[0], c] + w1 * attributes[face[1], c] + w2 * attributes[face[2], c]


@helper
@no_type_check
def _soften_band(clip, faces, attributes, rows, listed, extent, softness, kept, out):
    """Draw the listed triangles, in order, into one band of one view."""
    first, end, size = extent
    color = np.zeros((end - first, size[0], out.shape[2]), np.float64)
    kept[first:end, :, TOP] = 0  # the background's
    kept[first:end, :, TOTAL] = 1
    kept[first:end, :, THROUGH] = 1
    for f in listed:
        corners, area = _triangle(clip, faces, f, size)
        begin, stop = _within_reach(corners, 0, softness[0] * softness[2], size[0])
        for y in range(max(first, rows[f, 0]), min(end, rows[f, 1])):
            for x in range(begin, stop):
                _, weights, covered, closeness = _meet(corners, area, x, y, softness)
                if covered[0] > 0:
                    seen, _ = _in_perspective(corners, weights)
                    _blend(attributes, faces[f], seen, covered, closeness, kept[y, x], color[y - first, x])
    for y in range(first, end):
        for x in range(size[0]):
            for c in range(out.shape[2]):
                out[y, x, c] = color[y - first, x, c] / kept[y, x, TOTAL]


@kernel
@no_type_check
def soften(clip, faces, attributes, rows, band_ends, lists, softness, kept, out):
    """Write soft colours (views, height, width, channels), and `kept` (views, height, width, 3) for the way back.

    `softness` is (sigma_px, gamma, reach); `band_ends` (views * bands + 1) cuts `lists`. `kept` are the largest
    closeness, the sum of all shares relative to it, and the product of 1 - coverage.
    """
    height, width = out.shape[1], out.shape[2]
    bands = (height + BAND_ROWS - 1) // BAND_ROWS
    for task in prange(out.shape[0] * bands):
        v, band = task // bands, task % bands
        extent = (band * BAND_ROWS, min((band + 1) * BAND_ROWS, height), (width, height))
        listed = lists[band_ends[task] : band_ends[task + 1]]
        _soften_band(clip[v], faces, attributes, rows[v], listed, extent, softness, kept[v], out[v])


@helper
@no_type_check
def _colour_backward(attributes, face, seen, factor, color, grad_color, grad):
    """Gradients with respect to the share (times the sum of all), and to the three weights; adds the attributes'."""
    of_share, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
    for c in range(color.shape[0]):
        a0, a1, a2 = attributes[face[0], c], attributes[face[1], c], attributes[face[2], c]
        g = np.float64(grad_color[c])
        of_share += g * (seen[0] * a0 + seen[1] * a1 + seen[2] * a2 - color[c])
        g0, g1, g2 = g0 + g * a0, g1 + g * a1, g2 + g * a2
        grad[0, ATTRIBUTES + c] += seen[0] * factor * g
        grad[1, ATTRIBUTES + c] += seen[1] * factor * g
        grad[2, ATTRIBUTES + c] += seen[2] * factor * g
    return of_share, (g0 * factor, g1 * factor, g2 * factor)


@helper
@no_type_check
def _weights_backward(corners, weights, seen, total, grad_seen, grad_depth, grad):
    """From perspective-correct weights and depth back to the weights on the screen; adds z/w's and w's gradient."""
    mean = grad_seen[0] * seen[0] + grad_seen[1] * seen[1] + grad_seen[2] * seen[2]
    h0, h1, h2 = (grad_seen[0] - mean) / total, (grad_seen[1] - mean) / total, (grad_seen[2] - mean) / total
    p, q, r = corners
    grad[0, DEPTH] += grad_depth * weights[0]
    grad[1, DEPTH] += grad_depth * weights[1]
    grad[2, DEPTH] += grad_depth * weights[2]
    grad[0, W] -= h0 * weights[0] / (p[3] * p[3])
    grad[1, W] -= h1 * weights[1] / (q[3] * q[3])
    grad[2, W] -= h2 * weights[2] / (r[3] * r[3])
    return h0 / p[3] + grad_depth * p[2], h1 / q[3] + grad_depth * q[2], h2 / r[3] + grad_depth * r[2]


@helper
@no_type_check
def _inside_backward(corners, area, weights, grad_weights, grad):
    """Moving corner k changes the weights as moving the pixel by -weight k does."""
    p, q, r = corners
    g0, g1, g2 = grad_weights
    by_x = -(g0 * (r[1] - q[1]) + g1 * (p[1] - r[1]) + g2 * (q[1] - p[1])) / area
    by_y = (g0 * (r[0] - q[0]) + g1 * (p[0] - r[0]) + g2 * (q[0] - p[0])) / area
    for k in range(3):
        grad[k, SCREEN_X] -= weights[k] * by_x
        grad[k, SCREEN_Y] -= weights[k] * by_y


@helper
@no_type_check
def _outline_backward(corners, outline, pixel, grad_squared, grad_weights, grad):
    """Gradient through the squared distance to the outline and, outside, through the nearest point's place on it."""
    _, edge, t, inside = outline
    after = (edge + 1) % 3
    start, end = corners[edge], corners[after]
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    off_x, off_y = pixel[0] + 0.5 - start[0] - t * along_x, pixel[1] + 0.5 - start[1] - t * along_y
    start_x, start_y = -2 * (1 - t) * grad_squared * off_x, -2 * (1 - t) * grad_squared * off_y
    end_x, end_y = -2 * t * grad_squared * off_x, -2 * t * grad_squared * off_y
    if not inside and 0 < t < 1:
        g = (grad_weights[after] - grad_weights[edge]) / (along_x * along_x + along_y * along_y)
        start_x, start_y = start_x - g * (off_x + (1 - t) * along_x), start_y - g * (off_y + (1 - t) * along_y)
        end_x, end_y = end_x + g * (off_x - t * along_x), end_y + g * (off_y - t * along_y)
    grad[edge, SCREEN_X] += start_x
    grad[edge, SCREEN_Y] += start_y
    grad[after, SCREEN_X] += end_x
    grad[after, SCREEN_Y] += end_y


@helper
@no_type_check
def _to_clip(corners, size, grad):
    """Turn the gradients of corners on the screen, of z/w and of w into those of the clip positions."""
    for k in range(3):
        x, y, depth, w = corners[k]
        g_x, g_y, g_z = (
            grad[k, SCREEN_X] * (0.5 * size[0]) / w,
            grad[k, SCREEN_Y] * (0.5 * size[1]) / w,
            grad[k, DEPTH] / w,
        )
        grad[k, 3] = grad[k, W] - g_x * (2 * x / size[0] - 1) - g_y * (2 * y / size[1] - 1) - g_z * depth
        grad[k, 0] = g_x
        grad[k, 1] = g_y
        grad[k, 2] = g_z


@helper
@no_type_check
def _pixel_backward(corners, area, face, attributes, pixel, softness, kept, color, grad_color, grad_alpha, grad):
    """Add what one pixel says about one triangle to the gradient of its corners."""
    sigma_px, gamma, _ = softness
    outline, weights, covered, closeness = _meet(corners, area, pixel[0], pixel[1], softness)
    if covered[0] == 0:
        return
    share = covered[0] * np.exp(closeness - kept[TOP])
    seen, total = _in_perspective(corners, weights)
    factor = share / kept[TOTAL]
    of_share, grad_seen = _colour_backward(attributes, face, seen, factor, color, grad_color, grad)
    of_closeness = of_share * factor
    grad_weights = _weights_backward(corners, weights, seen, total, grad_seen, -of_closeness / (2 * gamma), grad)
    of_scaled = of_closeness * covered[1] + grad_alpha * kept[THROUGH] * covered[0]
    grad_squared = (of_scaled if outline[3] else -of_scaled) / (sigma_px * sigma_px)
    if outline[3]:
        _inside_backward(corners, area, weights, grad_weights, grad)
    _outline_backward(corners, outline, pixel, grad_squared, grad_weights, grad)


@kernel
@no_type_check
def soften_backward(clip, faces, attributes, rows, softness, kept, color, grad_color, grad_alpha, grad):
    """Write the gradients of one view per face and corner: x, y, z, w and the attributes (F, 3, 4 + channels).

    `grad` starts at zero; `kept` and `color` are what `soften` wrote of that view.
    """
    size = (color.shape[1], color.shape[0])
    for f in prange(faces.shape[0]):
        if rows[f, 1] > rows[f, 0]:
            corners, area = _triangle(clip, faces, f, size)
            begin, stop = _within_reach(corners, 0, softness[0] * softness[2], size[0])
            for y in range(rows[f, 0], rows[f, 1]):
                for x in range(begin, stop):
                    _pixel_backward(
                        corners,
                        area,
                        faces[f],
                        attributes,
                        (x, y),
                        softness,
                        kept[y, x],
                        color[y, x],
                        grad_color[y, x],
                        np.float64(grad_alpha[y, x]),
                        grad[f],
                    )
            _to_clip(corners, size, grad[f])


@serial_kernel
@no_type_check
def add_corners(parts, faces, grad_clip, grad_attributes):
    """Add gradients per corner (F, 3, 4 + channels) to those of the vertices, in the faces' order."""
    for f in range(faces.shape[0]):
        for k in range(3):
            i = faces[f, k]
            for c in range(4):
                grad_clip[i, c] += parts[f, k, c]
            for c in range(grad_attributes.shape[1]):
                grad_attributes[i, c] += parts[f, k, ATTRIBUTES + c]
