"""Texture kernels: sample mip pyramids of flat and cube maps, and take gradients to texels and coordinates.

A pyramid is one array (maps, texels, channels): the levels one after the other, and in each the faces (one, or six
of a cube), row by row. `levels` (L, 3) holds each level's first texel, width and height. Coordinates are (s, t), or
(s, t, face) for cubes, with (0, 0) at the corner of texel [0, 0] and texel centres at (i + 1/2) / width.
"""

# ruff: noqa: ANN001, ANN201, ANN202, PLR0913 - numba infers the types, and kernels take arrays, not objects

import numpy as np

from pipeline.raster.cpu.jit import helper, kernel, no_type_check, prange

NEAREST, LINEAR = 0, 1
WRAP, CLAMP = 0, 1

# Per face of a cube (+x -x +y -y +z -z) the directions of s, of t and of the face, in OpenGL's layout.
CUBE_AXES = np.array(
    [
        [[0, 0, -1], [0, -1, 0], [1, 0, 0]],
        [[0, 0, 1], [0, -1, 0], [-1, 0, 0]],
        [[1, 0, 0], [0, 0, 1], [0, 1, 0]],
        [[1, 0, 0], [0, 0, -1], [0, -1, 0]],
        [[1, 0, 0], [0, -1, 0], [0, 0, 1]],
        [[-1, 0, 0], [0, -1, 0], [0, 0, -1]],
    ],
    np.float64,
)
# Texels of one owner that lie together, see `sample_backward_map`.
_BLOCK = 32


@helper
@no_type_check
def _texel_beyond(face, x, y, size):
    """Index (within a level) of a cube's texel that lies over the edge of a face.

    At the cube's corners, where no fourth texel exists, it is one of the two neighbours.
    """
    a, b = (2 * x + 1) / size - 1, (2 * y + 1) / size - 1
    axes = CUBE_AXES
    dx = a * axes[face, 0, 0] + b * axes[face, 1, 0] + axes[face, 2, 0]
    dy = a * axes[face, 0, 1] + b * axes[face, 1, 1] + axes[face, 2, 1]
    dz = a * axes[face, 0, 2] + b * axes[face, 1, 2] + axes[face, 2, 2]
    best, target = 0.0, 0
    for n in range(6):
        along = dx * axes[n, 2, 0] + dy * axes[n, 2, 1] + dz * axes[n, 2, 2]
        if n != face and along > best + 1e-9:
            best, target = along, n
    s = (dx * axes[target, 0, 0] + dy * axes[target, 0, 1] + dz * axes[target, 0, 2]) / best
    t = (dx * axes[target, 1, 0] + dy * axes[target, 1, 1] + dz * axes[target, 1, 2]) / best
    column = min(max(int(np.floor((s + 1) * 0.5 * size)), 0), size - 1)
    row = min(max(int(np.floor((t + 1) * 0.5 * size)), 0), size - 1)
    return (target * size + row) * size + column


@helper
@no_type_check
def _texel(face, x, y, width, height, edge):
    """Index (within a level) of texel (x, y) of a face, which may lie beyond the face's edges."""
    if x < 0 or y < 0 or x >= width or y >= height:
        if face >= 0:
            return _texel_beyond(face, x, y, width)
        if edge == WRAP:
            x, y = x % width, y % height
        else:
            x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    return (max(face, 0) * height + y) * width + x


@helper
@no_type_check
def _footprint(level, coordinates, mode):
    """The four texels that bilinear filtering reads, and the fractions towards the right and lower ones."""
    first, width, height = level
    filtering, edge = mode
    s, t, face = np.float64(coordinates[0]), np.float64(coordinates[1]), -1
    if coordinates.shape[0] == 3:
        face = min(max(int(coordinates[2]), 0), 5)
    if not (abs(s) < 1e9 and abs(t) < 1e9):
        s, t = 0.0, 0.0
    if face < 0 and edge == WRAP:
        s, t = s - np.floor(s), t - np.floor(t)
    else:
        s, t = min(max(s, 0.0), 1.0), min(max(t, 0.0), 1.0)
    if filtering == NEAREST:
        x, y = min(int(s * width), width - 1), min(int(t * height), height - 1)
        n = first + _texel(face, x, y, width, height, edge)
        return (n, n, n, n), 0.0, 0.0
    s, t = s * width - 0.5, t * height - 0.5
    x, y = int(np.floor(s)), int(np.floor(t))
    taps = (
        first + _texel(face, x, y, width, height, edge),
        first + _texel(face, x + 1, y, width, height, edge),
        first + _texel(face, x, y + 1, width, height, edge),
        first + _texel(face, x + 1, y + 1, width, height, edge),
    )
    return taps, s - x, t - y


@helper
@no_type_check
def _level_weights(lods, x, count):
    """The finer of the two levels to read, and the fraction of the coarser one."""
    if lods.shape[0] == 0:
        return 0, 0.0
    lod = min(max(np.float64(lods[x]), 0.0), count - 1.0)
    if not lod >= 0:
        lod = 0.0
    finer = int(lod)
    return finer, lod - finer


@helper
@no_type_check
def _sample_row(texels, levels, coordinates, lods, mask, mode, out):
    """Filter the texture at one row of pixels."""
    for x in range(out.shape[0]):
        out[x, :] = 0
        if mask.shape[0] > 0 and not mask[x]:
            continue
        finer, blend = _level_weights(lods, x, levels.shape[0])
        for n in range(2):
            share = blend if n else 1 - blend
            if share > 0:
                level = (levels[finer + n, 0], levels[finer + n, 1], levels[finer + n, 2])
                taps, right, down = _footprint(level, coordinates[x], mode)
                for k in range(4):
                    weight = share * (right if k % 2 else 1 - right) * (down if k // 2 else 1 - down)
                    weight = out.dtype.type(weight)
                    if weight != 0:
                        for c in range(out.shape[1]):
                            out[x, c] += weight * texels[taps[k], c]


@kernel
@no_type_check
def sample(texels, levels, coordinates, lods, mask, mode, out):
    """Filter textures at pixels; everything per pixel is (rows, width, ...), `texels` (maps, texels, channels).

    Maps are dealt out to equal shares of the rows. `lods` may be (rows, 0) for level 0, `mask` (rows, 0) for all.
    """
    rows = out.shape[0]
    for row in prange(rows):
        texture = texels[row * texels.shape[0] // rows]
        _sample_row(texture, levels, coordinates[row], lods[row], mask[row], mode, out[row])


@helper
@no_type_check
def _dot(grad, texels, n):
    """Inner product of a pixel's gradient with a texel."""
    total = 0.0
    for c in range(grad.shape[0]):
        total += np.float64(grad[c]) * np.float64(texels[n, c])
    return total


@helper
@no_type_check
def _slopes(texels, level, coordinates, mode, grad):
    """Inner products of a pixel's gradient with the level's value there and its slopes in s and t."""
    taps, right, down = _footprint(level, coordinates, mode)
    a, b = _dot(grad, texels, taps[0]), _dot(grad, texels, taps[1])
    c, d = _dot(grad, texels, taps[2]), _dot(grad, texels, taps[3])
    value = (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * c + right * d)
    in_s = ((1 - down) * (b - a) + down * (d - c)) * level[1]
    in_t = ((1 - right) * (c - a) + right * (d - b)) * level[2]
    return value, in_s, in_t


@kernel
@no_type_check
def sample_backward_coordinates(texels, levels, coordinates, lods, mask, mode, grad_out, grad_coordinates, grad_lods):
    """Write the gradients of `sample` to s, t and the level; they start at zero."""
    rows, width = grad_out.shape[0], grad_out.shape[1]
    for row in prange(rows):
        texture = texels[row * texels.shape[0] // rows]
        for x in range(width):
            if mask.shape[1] > 0 and not mask[row, x]:
                continue
            finer, blend = _level_weights(lods[row], x, levels.shape[0])
            level = (levels[finer, 0], levels[finer, 1], levels[finer, 2])
            value, in_s, in_t = _slopes(texture, level, coordinates[row, x], mode, grad_out[row, x])
            if finer + 1 < levels.shape[0] and lods.shape[1] > 0:
                level = (levels[finer + 1, 0], levels[finer + 1, 1], levels[finer + 1, 2])
                coarse, coarse_s, coarse_t = _slopes(texture, level, coordinates[row, x], mode, grad_out[row, x])
                grad_lods[row, x] = coarse - value
                in_s += blend * (coarse_s - in_s)
                in_t += blend * (coarse_t - in_t)
            grad_coordinates[row, x, 0] = in_s
            grad_coordinates[row, x, 1] = in_t


@helper
@no_type_check
def _scatter_pixel(grad, levels, coordinates, lods, x, mode, grad_out, owner, owners):
    """Add one pixel's gradient to the texels of one owner."""
    finer, blend = _level_weights(lods, x, levels.shape[0])
    for n in range(2):
        share = blend if n else 1 - blend
        if share > 0:
            level = (levels[finer + n, 0], levels[finer + n, 1], levels[finer + n, 2])
            taps, right, down = _footprint(level, coordinates, mode)
            for k in range(4):
                weight = share * (right if k % 2 else 1 - right) * (down if k // 2 else 1 - down)
                weight = grad.dtype.type(weight)
                if weight != 0 and (taps[k] // _BLOCK) % owners == owner:
                    for c in range(grad.shape[1]):
                        grad[taps[k], c] += weight * grad_out[c]


@kernel
@no_type_check
def sample_backward_map(levels, coordinates, lods, mask, mode, grad_out, owners, grad):
    """Add the gradient of `sample` to the texels `grad` (maps, texels, channels).

    Each owner goes over all pixels in order and adds to its own texels only, so a texel's sum does not depend on
    the number of owners: one per thread.
    """
    rows, width = grad_out.shape[0], grad_out.shape[1]
    for owner in prange(owners):
        for row in range(rows):
            texture = grad[row * grad.shape[0] // rows]
            for x in range(width):
                if mask.shape[1] == 0 or mask[row, x]:
                    pixel = grad_out[row, x]
                    _scatter_pixel(texture, levels, coordinates[row, x], lods[row], x, mode, pixel, owner, owners)
