"""Silhouette edges between neighbouring pixels: find them, blend across them, and differentiate.

After "Modular Primitives for High-Performance Differentiable Rendering" (Laine et al., 2020, section 3.5): where
two neighbouring pixels show different triangles, the nearer one owns the edge in between; if a silhouette
edge crosses the line between both centres at the distance d (0 = owner, 1 = the other), the owner's colour
covers d, and alpha = d - 1/2 of it moves across. Laine et al. look at the edges of the owner's triangle
only. Here the line is walked on over the neighbouring faces until it leaves the surface: on dense meshes, whose
triangles are smaller than a pixel, the silhouette hardly ever belongs to a triangle that a pixel sees.

Horizontal lines take edges that are closer to vertical, vertical lines the rest, so that an edge counts once.
"""

# ruff: noqa: ANN001, ANN201, ANN202, PLR0913 - numba infers the types, and kernels take arrays, not objects

import numpy as np

from pipeline.raster.cpu.jit import helper, kernel, no_type_check, prange


@kernel
@no_type_check
def count_pairs(ids, counts):
    """Count per row (views * height) the pairs with the right and the lower pixel that show different triangles."""
    height, width = ids.shape[1], ids.shape[2]
    for row in prange(ids.shape[0] * height):
        view, y = row // height, row % height
        count = 0
        for x in range(width):
            if x + 1 < width and ids[view, y, x] != ids[view, y, x + 1]:
                count += 1
            if y + 1 < height and ids[view, y, x] != ids[view, y + 1, x]:
                count += 1
        counts[row] = count


@helper
@no_type_check
def _seen_from(points, i, x, y):
    """Corner i as (X, Y, w) with the pixel (x, y) as the origin."""
    w = points[i, 3]
    return points[i, 0] - x * w, points[i, 1] - y * w, w


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
def _walk(points, faces, neighbours, f, target, pixel, step, search):
    """Walk from a pixel's triangle f towards the neighbouring pixel, which shows `target`, until a silhouette edge.

    Returns the edge's vertices and the distance; no vertices (-1) if the surface goes on, if `search`
    further faces did not reach its end, or if the edge is a matter of the other direction.
    """
    entry, previous, same_direction = -1, 0.0, 0
    i, j, d, upright = -1, -1, 0.0, False
    for count in range(search + 2):
        p = _seen_from(points, faces[f, 0], pixel[0], pixel[1])
        q = _seen_from(points, faces[f, 1], pixel[0], pixel[1])
        r = _seen_from(points, faces[f, 2], pixel[0], pixel[1])
        edges = (_edge(q, r), _edge(r, p), _edge(p, q))
        sign = np.sign(edges[0][2] * p[2] + edges[1][2] * q[2] + edges[2][2] * r[2])
        if count > 0:
            folds = sign != (-previous if same_direction else previous)
            if folds and upright:
                return i, j, d
            if folds or count > search:
                return -1, -1, 0.0
        edge, d = _exit(edges, sign, step, entry)
        if edge < 0:
            return -1, -1, 0.0
        i, j = faces[f, (edge + 1) % 3], faces[f, (edge + 2) % 3]
        upright = (abs(edges[edge][0]) >= abs(edges[edge][1])) == (step[0] != 0)
        across = neighbours[f, edge]
        if across < 0:
            return (i, j, d) if upright else (-1, -1, 0.0)
        previous, same_direction = sign, across % 2
        f = across // 2
        if f == target:
            # It covers the other centre, so it lies beyond the edge: no fold.
            return -1, -1, 0.0
        entry = _edge_between(faces, f, i, j)
    return -1, -1, 0.0


@helper
@no_type_check
def _find_in_row(scene, ids, depth, y, search, records):
    """Look for silhouettes between row y and its right and lower neighbours."""
    points, faces, neighbours = scene
    owners, steps, ends, alphas = records
    height, width = ids.shape
    n = 0
    for x in range(width):
        for down in range(2):
            x_other, y_other = x + 1 - down, y + down
            if x_other >= width or y_other >= height or ids[y, x] == ids[y_other, x_other]:
                continue
            here = ids[y_other, x_other] < 0 or (ids[y, x] >= 0 and depth[y, x] <= depth[y_other, x_other])
            x_owner, y_owner = (x, y) if here else (x_other, y_other)
            direction = 2 * down if here else 2 * down + 1
            away = 1.0 if here else -1.0
            step = (away * (1 - down), away * down)
            f, target = (ids[y, x], ids[y_other, x_other]) if here else (ids[y_other, x_other], ids[y, x])
            i, j, d = _walk(points, faces, neighbours, f, target, (x_owner, y_owner), step, search)
            if i >= 0:
                owners[n] = y_owner * width + x_owner
                steps[n] = direction
                ends[n, 0] = i
                ends[n, 1] = j
                alphas[n] = min(max(d, 0.0), 1.0) - 0.5
            else:
                steps[n] = -1
            n += 1


@kernel
@no_type_check
def find_silhouettes(points, faces, neighbours, ids, depth, search, starts, owners, steps, ends, alphas):
    """Write one record per pair that `count_pairs` counted, in the order of the rows; steps = -1: no silhouette.

    Owner's pixel (row * width + column); step to the other pixel (0 right, 1 left, 2 down, 3 up); the edge's
    vertices; alpha. `starts` holds each row's first record, and their number at the end.
    """
    height = ids.shape[1]
    for row in prange(ids.shape[0] * height):
        view, y = row // height, row % height
        first, end = starts[row], starts[row + 1]
        if end > first:
            records = (owners[first:end], steps[first:end], ends[first:end], alphas[first:end])
            _find_in_row((points[view], faces, neighbours), ids[view], depth[view], y, search, records)


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
def _add_edge(points, i, j, pixel, step, d, grad_alpha, size, grad):
    """Add the gradient of one crossing to the clip positions of the edge's two vertices.

    d = -C / M with C at the owner's centre and M = A or B along the step.
    """
    p, q = _seen_from(points, i, pixel[0], pixel[1]), _seen_from(points, j, pixel[0], pixel[1])
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
def blend_backward(points, color, size, view_ends, owners, steps, ends, alphas, grad_out, grad_color, grad):
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
            _add_edge(points[view], ends[n, 0], ends[n, 1], pixel, steps[n], d, grad_alpha, size, grad[view])
