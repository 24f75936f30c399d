"""Interpolation kernels: vertex attributes to pixels."""

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
