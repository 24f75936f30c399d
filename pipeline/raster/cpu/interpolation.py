"""Interpolation kernels: vertex attributes to pixels, and gradients back."""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, and kernels take arrays, not objects

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
