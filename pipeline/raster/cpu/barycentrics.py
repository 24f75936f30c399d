"""Barycentrics per pixel: their screen derivatives, and gradients to the clip positions.

With a triangle's corners p_i = (X_i, Y_i, w_i) seen from the pixel (so that the pixel is the origin), the edge
functions are e_0 = X_1 Y_2 - X_2 Y_1 and its rotations, and the perspective-correct weights are e_i / sum e.
"""

# ruff: noqa: ANN001, ANN201, ANN202, PLR0913 - numba infers the types, and kernels take arrays, not objects

import numpy as np

from pipeline.raster.cpu.jit import helper, kernel, no_type_check, prange


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
def _edge_values(p, q, r):
    """The three edge functions at the origin."""
    return q[0] * r[1] - r[0] * q[1], r[0] * p[1] - p[0] * r[1], p[0] * q[1] - q[0] * p[1]


@helper
@no_type_check
def _weights(p, q, r):
    """The weights of corners 0 and 1 clamped to the simplex, and the sum of the edge functions."""
    e0, e1, e2 = _edge_values(p, q, r)
    total = e0 + e1 + e2
    if total == 0:
        return 1 / 3, 1 / 3, total
    u = min(max(e0 / total, 0.0), 1.0)
    return u, min(max(e1 / total, 0.0), 1.0 - u), total


@kernel
@no_type_check
def screen_derivatives(clip, faces, rast, out):
    """Write du/dx, du/dy, dv/dx, dv/dy per pixel, x and y in pixels; zero where empty."""
    height, size = rast.shape[1], (rast.shape[2], rast.shape[1])
    for task in prange(rast.shape[0] * height):
        view, y = task // height, task % height
        corners = clip[view]
        for x in range(rast.shape[2]):
            f = int(rast[view, y, x, 3]) - 1
            if f < 0:
                out[view, y, x, :] = 0
            else:
                p = _seen_from(corners, faces[f, 0], (x, y), size)
                q = _seen_from(corners, faces[f, 1], (x, y), size)
                r = _seen_from(corners, faces[f, 2], (x, y), size)
                u, v, total = _weights(p, q, r)
                scale = 1 / total if total != 0 else 0.0
                # e_i = A_i x + B_i y + C_i: the slopes of the three edge functions.
                a0, a1, a2 = q[1] * r[2] - r[1] * q[2], r[1] * p[2] - p[1] * r[2], p[1] * q[2] - q[1] * p[2]
                b0, b1, b2 = r[0] * q[2] - q[0] * r[2], p[0] * r[2] - r[0] * p[2], q[0] * p[2] - p[0] * q[2]
                out[view, y, x, 0] = (a0 - u * (a0 + a1 + a2)) * scale
                out[view, y, x, 1] = (b0 - u * (b0 + b1 + b2)) * scale
                out[view, y, x, 2] = (a1 - v * (a0 + a1 + a2)) * scale
                out[view, y, x, 3] = (b1 - v * (b0 + b1 + b2)) * scale


@helper
@no_type_check
def _add_corner(grad, i, grad_x, grad_y, pixel, size):
    """Add a gradient with respect to a corner seen from a pixel to that of its clip position."""
    x, y = pixel
    width, height = size
    grad[i, 0] += grad_x * (0.5 * width)
    grad[i, 1] += grad_y * (0.5 * height)
    grad[i, 3] += grad_x * (0.5 * (width - 1) - x) + grad_y * (0.5 * (height - 1) - y)


@helper
@no_type_check
def _add_pixel(clip, corners, grad_u, grad_v, pixel, size, grad):
    """Add the gradient of one pixel's u and v to the triangle's three clip positions."""
    i, j, k = corners
    p = _seen_from(clip, i, pixel, size)
    q = _seen_from(clip, j, pixel, size)
    r = _seen_from(clip, k, pixel, size)
    u, v, total = _weights(p, q, r)
    if total == 0:
        return
    mean = grad_u * u + grad_v * v
    g0, g1, g2 = (grad_u - mean) / total, (grad_v - mean) / total, -mean / total
    _add_corner(grad, i, g2 * q[1] - g1 * r[1], g1 * r[0] - g2 * q[0], pixel, size)
    _add_corner(grad, j, g0 * r[1] - g2 * p[1], g2 * p[0] - g0 * r[0], pixel, size)
    _add_corner(grad, k, g1 * p[1] - g0 * q[1], g0 * q[0] - g1 * p[0], pixel, size)


@kernel
@no_type_check
def barycentrics_backward(clip, faces, rast, grad_rast, grad):
    """Add the gradients of u and v to `grad` (views, chunks, vertices, 4): one sum per chunk of rows."""
    chunks, height, width = grad.shape[1], rast.shape[1], rast.shape[2]
    for task in prange(rast.shape[0] * chunks):
        view, chunk = task // chunks, task % chunks
        for y in range(chunk * height // chunks, (chunk + 1) * height // chunks):
            for x in range(width):
                f = int(rast[view, y, x, 3]) - 1
                grad_u, grad_v = np.float64(grad_rast[view, y, x, 0]), np.float64(grad_rast[view, y, x, 1])
                if f >= 0 and (grad_u != 0 or grad_v != 0):
                    corners = (faces[f, 0], faces[f, 1], faces[f, 2])
                    _add_pixel(clip[view], corners, grad_u, grad_v, (x, y), (width, height), grad[view, chunk])
