"""Interpolation kernels: vertex attributes to pixels, and gradients back."""

# ruff: noqa: ANN001, ANN201, ANN202, PLR0913 - numba infers the types, and kernels take arrays, not objects

import numpy as np

from pipeline.raster.cpu.jit import helper, kernel, no_type_check, prange


@helper
@no_type_check
def _interpolate_row(attributes, faces, rast, out):
    """Fill one row (width, channels) of the output."""
    one = rast.dtype.type(1)
    for x in range(rast.shape[0]):
        f = int(rast[x, 3]) - 1
        if f < 0:
            out[x, :] = 0
            continue
        u, v = rast[x, 0], rast[x, 1]
        t = one - u - v
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        for c in range(attributes.shape[1]):
            out[x, c] = u * attributes[i, c] + v * attributes[j, c] + t * attributes[k, c]


@kernel
@no_type_check
def interpolate_rows(attributes, faces, rast, out):
    """Write u a0 + v a1 + (1 - u - v) a2 per covered pixel and zero elsewhere; rast is (rows, width, 4)."""
    for row in prange(rast.shape[0]):
        _interpolate_row(attributes, faces, rast[row], out[row])


@helper
@no_type_check
def _backward_row(attributes, faces, rast, grad_out, grad_rast, grad_attributes):
    """Gradients of one row with respect to u, v and the attributes (each skipped where its array is empty)."""
    one = rast.dtype.type(1)
    channels = attributes.shape[1]
    for x in range(rast.shape[0]):
        f = int(rast[x, 3]) - 1
        if f < 0:
            continue
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        if grad_rast.shape[0] > 0:
            grad_u, grad_v = rast.dtype.type(0), rast.dtype.type(0)
            for c in range(channels):
                grad_u += grad_out[x, c] * (attributes[i, c] - attributes[k, c])
                grad_v += grad_out[x, c] * (attributes[j, c] - attributes[k, c])
            grad_rast[x, 0] = grad_u
            grad_rast[x, 1] = grad_v
        if grad_attributes.shape[0] > 0:
            u, v = rast[x, 0], rast[x, 1]
            t = one - u - v
            for c in range(channels):
                grad_attributes[i, c] += u * grad_out[x, c]
                grad_attributes[j, c] += v * grad_out[x, c]
                grad_attributes[k, c] += t * grad_out[x, c]


@kernel
@no_type_check
def interpolate_backward(attributes, faces, rast, grad_out, grad_rast, grad_attributes):
    """Write `grad_rast` (rows, width, 4) and `grad_attributes` (chunks, vertices, channels), one sum per chunk of rows.

    Both start at zero; (rows, 0, 4) or (chunks, 0, channels) leaves one out.
    """
    chunks, rows = grad_attributes.shape[0], rast.shape[0]
    for chunk in prange(chunks):
        for row in range(chunk * rows // chunks, (chunk + 1) * rows // chunks):
            _backward_row(attributes, faces, rast[row], grad_out[row], grad_rast[row], grad_attributes[chunk])


@helper
@no_type_check
def _run_end(rast, x):
    """The first pixel of a row after x that shows another triangle."""
    end = x + 1
    while end < rast.shape[0] and rast[end, 3] == rast[x, 3]:
        end += 1
    return end


@helper
@no_type_check
def _slopes(attributes, corners, grad_out):
    """Gradient of one pixel with respect to u and v."""
    i, j, k = corners
    grad_u, grad_v = 0.0, 0.0
    for c in range(attributes.shape[1]):
        last = np.float64(attributes[k, c])
        grad_u += grad_out[c] * (attributes[i, c] - last)
        grad_v += grad_out[c] * (attributes[j, c] - last)
    return grad_u, grad_v


@helper
@no_type_check
def _differences_rgb(attributes, corners):
    """By how much three channels change along u, then along v."""
    i, j, k = corners
    red, green, blue = np.float64(attributes[k, 0]), np.float64(attributes[k, 1]), np.float64(attributes[k, 2])
    return (
        attributes[i, 0] - red,
        attributes[i, 1] - green,
        attributes[i, 2] - blue,
        attributes[j, 0] - red,
        attributes[j, 1] - green,
        attributes[j, 2] - blue,
    )


@helper
@no_type_check
def _add_corner(grad, i, grad_x, grad_y, grad_x_along, offset, size):
    """Add a run's gradient with respect to a corner (X, Y) seen from its pixels to that of the clip position.

    `grad_x_along` weighs `grad_x` by each pixel's distance from the run's first; `offset` leads from there to the
    image's centre.
    """
    grad[i, 0] += grad_x * (0.5 * size[0])
    grad[i, 1] += grad_y * (0.5 * size[1])
    grad[i, 3] += grad_x * offset[0] - grad_x_along + grad_y * offset[1]


@helper
@no_type_check
def _positions_backward_run(attributes, indices, clip, rast, grad_out, pixel, size, grad):
    """Add the gradient of the pixels of one triangle in a row, beginning at `pixel`, to its three clip positions.

    The pixel's weights are e_i / sum e, with e_0 = X_1 Y_2 - X_2 Y_1 and its rotations over the corners (X, Y, w) seen
    from it. Moving by t pixels along the row changes X by -t w and leaves Y, so the sums of dL/de_i and of t dL/de_i
    over the run tell everything about it.
    """
    corners, (i, j, k) = indices
    offset = (0.5 * (size[0] - 1) - pixel[0], 0.5 * (size[1] - 1) - pixel[1])
    w0, w1, w2 = np.float64(clip[i, 3]), np.float64(clip[j, 3]), np.float64(clip[k, 3])
    x0, y0 = clip[i, 0] * (0.5 * size[0]) + w0 * offset[0], clip[i, 1] * (0.5 * size[1]) + w0 * offset[1]
    x1, y1 = clip[j, 0] * (0.5 * size[0]) + w1 * offset[0], clip[j, 1] * (0.5 * size[1]) + w1 * offset[1]
    x2, y2 = clip[k, 0] * (0.5 * size[0]) + w2 * offset[0], clip[k, 1] * (0.5 * size[1]) + w2 * offset[1]
    total = (x1 * y2 - x2 * y1) + (x2 * y0 - x0 * y2) + (x0 * y1 - x1 * y0)
    slope = (y1 * w2 - y2 * w1) + (y2 * w0 - y0 * w2) + (y0 * w1 - y1 * w0)
    sum0, sum1, sum2, along0, along1, along2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    rgb = attributes.shape[1] == 3  # the commonest number of channels, unrolled
    differences = _differences_rgb(attributes, corners) if rgb else (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for t in range(rast.shape[0]):
        if rgb:
            red, green, blue = np.float64(grad_out[t, 0]), np.float64(grad_out[t, 1]), np.float64(grad_out[t, 2])
            grad_u = red * differences[0] + green * differences[1] + blue * differences[2]
            grad_v = red * differences[3] + green * differences[4] + blue * differences[5]
        else:
            grad_u, grad_v = _slopes(attributes, corners, grad_out[t])
        at_pixel = total + slope * t
        scale = 1 / at_pixel if at_pixel != 0 else 0.0
        mean = grad_u * rast[t, 0] + grad_v * rast[t, 1]
        g0, g1, g2 = (grad_u - mean) * scale, (grad_v - mean) * scale, -mean * scale
        sum0, sum1, sum2 = sum0 + g0, sum1 + g1, sum2 + g2
        along0, along1, along2 = along0 + g0 * t, along1 + g1 * t, along2 + g2 * t
    grad_y = sum1 * x2 - along1 * w2 - sum2 * x1 + along2 * w1
    _add_corner(grad, i, sum2 * y1 - sum1 * y2, grad_y, along2 * y1 - along1 * y2, offset, size)
    grad_y = sum2 * x0 - along2 * w0 - sum0 * x2 + along0 * w2
    _add_corner(grad, j, sum0 * y2 - sum2 * y0, grad_y, along0 * y2 - along2 * y0, offset, size)
    grad_y = sum0 * x1 - along0 * w1 - sum1 * x0 + along1 * w0
    _add_corner(grad, k, sum1 * y0 - sum0 * y1, grad_y, along1 * y0 - along0 * y1, offset, size)


@helper
@no_type_check
def _drawn_backward_row(attributes, faces, clip, drawn_faces, rast, grad_out, y, size, grad_clip, grad_attributes):
    """Gradients of one row with respect to the clip positions and the attributes (skipped where its array is empty)."""
    x = 0
    while x < rast.shape[0]:
        f = int(rast[x, 3]) - 1
        if f < 0:
            x += 1
            continue
        end = _run_end(rast, x)
        corners = (faces[f, 0], faces[f, 1], faces[f, 2])
        drawn = (drawn_faces[f, 0], drawn_faces[f, 1], drawn_faces[f, 2])
        _positions_backward_run(
            attributes, (corners, drawn), clip, rast[x:end], grad_out[x:end], (x, y), size, grad_clip
        )
        if grad_attributes.shape[0] > 0:
            for n in range(x, end):
                u, v = rast[n, 0], rast[n, 1]
                t = rast.dtype.type(1) - u - v
                for c in range(attributes.shape[1]):
                    grad_attributes[corners[0], c] += u * grad_out[n, c]
                    grad_attributes[corners[1], c] += v * grad_out[n, c]
                    grad_attributes[corners[2], c] += t * grad_out[n, c]
        x = end


@kernel
@no_type_check
def drawn_backward(attributes, faces, clip, drawn_faces, rast, grad_out, grad_clip, grad_attributes):
    """Add gradients with respect to the clip positions that were drawn, and to the attributes.

    `grad_clip` (views, chunks, vertices, 4) holds one sum per view and chunk of rows; `grad_attributes` (tasks,
    vertices, channels) one per task, or (tasks, 0, channels) leaves it out. A task is a chunk of one view, or several
    whole views.
    """
    views, chunks, height = rast.shape[0], grad_clip.shape[1], rast.shape[1]
    tasks = grad_attributes.shape[0]
    for task in prange(tasks):
        for part in range(task * views * chunks // tasks, (task + 1) * views * chunks // tasks):
            view, chunk = part // chunks, part % chunks
            for y in range(chunk * height // chunks, (chunk + 1) * height // chunks):
                _drawn_backward_row(
                    attributes,
                    faces,
                    clip[view],
                    drawn_faces,
                    rast[view, y],
                    grad_out[view, y],
                    y,
                    (rast.shape[2], height),
                    grad_clip[view, chunk],
                    grad_attributes[task],
                )


@kernel
@no_type_check
def add_up(parts, total):
    """Sum `parts` (sums, chunks, rows, columns) over the chunks, in their order."""
    blocks = 16
    rows = parts.shape[2]
    for task in prange(parts.shape[0] * blocks):
        n, block = task // blocks, task % blocks
        for row in range(block * rows // blocks, (block + 1) * rows // blocks):
            for c in range(parts.shape[3]):
                value = parts[n, 0, row, c]
                for chunk in range(1, parts.shape[1]):
                    value += parts[n, chunk, row, c]
                total[n, row, c] = value
