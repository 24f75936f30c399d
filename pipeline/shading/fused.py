"""Shading in one pass over the points: `shade` as a kernel, forward and backward, for float32 on the CPU.

The definition is `shade` with its parts in torch; tests hold this to it. Eager torch makes some sixty passes over
arrays of points and stores most of them for the way back; here a point is shaded in registers and shaded again for
its gradient.
"""

# ruff: noqa: ANN001, ANN202, PLR0913, PLR0915 - numba infers the types; one point's algebra stands in one place

from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.raster.cpu.jit import use_torch_threads
from pipeline.shading.disney import DIELECTRIC_F0, directional_albedo_table
from pipeline.shading.prefilter import DIFFUSE_SIZE, PrefilteredLight

_F0 = np.float32(DIELECTRIC_F0)
_CHUNKS = 8  # sums of the light's gradient, fixed so that the bits do not depend on the threads
_TABLE = 32  # entries along an edge of the directional albedo table

_helper = numba.njit(fastmath=True, error_model="numpy")
_kernel = numba.njit(cache=True, parallel=True, fastmath=True, error_model="numpy")


@_helper
@no_type_check
def _octahedral(x, y, z):
    """Map coordinates in [-1, 1] of a direction, and |x| + |y| + |z|."""
    s = abs(x) + abs(y) + abs(z)
    a, c = x / s, z / s
    if y < 0:
        return (1 - abs(c)) * (-1 if x < 0 else 1), (1 - abs(a)) * (-1 if z < 0 else 1), s
    return a, c, s


@_helper
@no_type_check
def _octahedral_backward(direction, s, grad_u, grad_v):
    """Gradient with respect to a direction, which need not have unit length, of |x| + |y| + |z| = s."""
    x, y, z = direction
    sx, sy, sz = (-1 if x < 0 else 1), (-1 if y < 0 else 1), (-1 if z < 0 else 1)
    if y < 0:
        grad_a, grad_c = -grad_v * sz * sx, -grad_u * sx * sz
    else:
        grad_a, grad_c = grad_u, grad_v
    along = (grad_a * x + grad_c * z) / s
    return (grad_a - along * sx) / s, -along * sy / s, (grad_c - along * sz) / s


@_helper
@no_type_check
def _wrapped(row, column, size):
    """Texel of an octahedral map whose rows and columns from -1 to `size` continue across the octahedron's edges."""
    outside_row, outside_column = row < 0 or row >= size, column < 0 or column >= size
    if outside_row:
        column = size - 1 - column
    if outside_column:
        row = size - 1 - row
    return min(max(row, 0), size - 1) * size + min(max(column, 0), size - 1)


@_helper
@no_type_check
def _corners(u, v, size):
    """The four texels around map coordinates in [-1, 1] and the fractions towards the right and lower ones."""
    x, y = (u + 1) * (np.float32(0.5) * size) - np.float32(0.5), (v + 1) * (np.float32(0.5) * size) - np.float32(0.5)
    column, row = min(max(int(np.floor(x)), -1), size - 1), min(max(int(np.floor(y)), -1), size - 1)
    fx, fy = np.float32(x - column), np.float32(y - row)
    if 0 <= row < size - 1 and 0 <= column < size - 1:
        first = row * size + column
        return (first, first + 1, first + size, first + size + 1), fx, fy
    corners = (
        _wrapped(row, column, size),
        _wrapped(row, column + 1, size),
        _wrapped(row + 1, column, size),
        _wrapped(row + 1, column + 1, size),
    )
    return corners, fx, fy


@_helper
@no_type_check
def _tap(direction, first, size):
    """Where a map of so many texels an edge, from row `first` of the table on, is read in a direction."""
    u, v, total = _octahedral(direction[0], direction[1], direction[2])
    corners, fx, fy = _corners(u, v, int(size))
    return int(first), corners, fx, fy, total


@_helper
@no_type_check
def _bilinear(table, tap, c):
    """Channel c of a map, with its slopes along both fractions."""
    first, corners, fx, fy, _ = tap
    t00, t10 = table[first + corners[0], c], table[first + corners[1], c]
    t01, t11 = table[first + corners[2], c], table[first + corners[3], c]
    top, bottom = t00 + fx * (t10 - t00), t01 + fx * (t11 - t01)
    return top + fy * (bottom - top), (t10 - t00) + fy * ((t11 - t01) - (t10 - t00)), bottom - top


@_helper
@no_type_check
def _add_bilinear(grad, tap, c, value):
    """Add a gradient to the four texels."""
    first, corners, fx, fy, _ = tap
    grad[first + corners[0], c] += (1 - fx) * (1 - fy) * value
    grad[first + corners[1], c] += fx * (1 - fy) * value
    grad[first + corners[2], c] += (1 - fx) * fy * value
    grad[first + corners[3], c] += fx * fy * value


@_helper
@no_type_check
def _split_sum(table, cos_v, roughness):
    """Scale and bias of the specular albedo, and their slopes along cos_v and roughness."""
    last = np.float32(_TABLE - 1)
    x, y = min(max(cos_v, 0), 1) * last, min(max(roughness, 0), 1) * last
    i, j = max(min(int(x), _TABLE - 2), 0), max(min(int(y), _TABLE - 2), 0)  # nan must not index anything
    fx, fy = np.float32(x - i), np.float32(y - j)
    corners = (i * _TABLE + j, (i + 1) * _TABLE + j, i * _TABLE + j + 1, (i + 1) * _TABLE + j + 1)
    scale, scale_x, scale_y = _bilinear(table, (0, corners, fx, fy, last), 0)
    bias, bias_x, bias_y = _bilinear(table, (0, corners, fx, fy, last), 1)
    return scale, bias, (scale_x * last, bias_x * last), (scale_y * last, bias_y * last)


@_helper
@no_type_check
def _dominant(n, wo, roughness):
    """Direction of most mirrored light, not of unit length, the share k of the mirror direction, and clamped n.wo."""
    cos = n[0] * wo[0] + n[1] * wo[1] + n[2] * wo[2]
    clamped = max(cos, np.float32(1e-3))
    smooth = max(1 - roughness * roughness, np.float32(0))
    k = smooth * np.sqrt(smooth) + smooth * (1 - smooth)
    along = 1 - k + 2 * k * clamped
    return (along * n[0] - k * wo[0], along * n[1] - k * wo[1], along * n[2] - k * wo[2]), k, smooth, cos, clamped


@_helper
@no_type_check
def _dominant_backward(p, vectors, of, to_direction, further, grads):
    """Write the gradients of normal and view direction of point p, and return that of the roughness.

    `of` is the roughness and what `_dominant` gave (k, smooth, n.wo, and that clamped); `further` are the gradient of
    n.wo, and one of the normal, that come from elsewhere.
    """
    n, view = vectors
    roughness, k, smooth, cos, cos_v = of
    to_normal, to_wo = grads
    along = to_direction[0] * n[0] + to_direction[1] * n[1] + to_direction[2] * n[2]
    across = to_direction[0] * view[0] + to_direction[1] * view[1] + to_direction[2] * view[2]
    grad_cos = further[0] + 2 * k * along if cos > 1e-3 else np.float32(0)
    factor = 1 - k + 2 * k * cos_v
    for c in range(3):
        to_normal[p, c] = factor * to_direction[c] + grad_cos * view[c] + further[1][c]
        to_wo[p, c] = grad_cos * n[c] - k * to_direction[c]
    if smooth <= 0:
        return np.float32(0)
    slope = np.float32(1.5) * np.sqrt(smooth) + 1 - 2 * smooth
    return -2 * roughness * slope * ((2 * cos_v - 1) * along - across)


@_helper
@no_type_check
def _level_of(levels, roughness):
    """The smoother of the two levels around a roughness, and the blend towards the rougher."""
    last = levels.shape[0] - 1
    rough = min(max(roughness, levels[0, 0]), levels[last, 0])
    below = 0
    while below < last - 1 and levels[below + 1, 0] <= rough:
        below += 1
    return below, (rough - levels[below, 0]) / (levels[below + 1, 0] - levels[below, 0])


@_helper
@no_type_check
def _row(values, p):
    return values[p, 0], values[p, 1], values[p, 2]


@_kernel
@no_type_check
def _shade(base, roughness, metallic, normal, wo, light, shadow, split_sum, out):
    """Write radiance per point.

    `light` is (table, levels, diffuse row, diffuse size); `shadow` is (share, irradiance, blocked) of the points, or
    empty arrays in the open.
    """
    table, levels, diffuse_row, diffuse_size = light
    share, irradiance, blocked = shadow
    shadowed = share.shape[0] > 0
    for p in numba.prange(base.shape[0]):
        n, m, r = _row(normal, p), metallic[p], roughness[p]
        d, _, _, _, cos_v = _dominant(n, _row(wo, p), r)
        scale, bias, _, _ = _split_sum(split_sum, cos_v, r)
        below, blend = _level_of(levels, r)
        near = _tap(d, levels[below, 2], levels[below, 1])
        far = _tap(d, levels[below + 1, 2], levels[below + 1, 1])
        around = _tap(n, diffuse_row, diffuse_size)
        passed = max(1 - _F0 * scale - bias, np.float32(0)) * (1 - m)
        for c in range(3):
            sharp, _, _ = _bilinear(table, near, c)
            blurred, _, _ = _bilinear(table, far, c)
            reflected = sharp + blend * (blurred - sharp)
            if shadowed:
                reflected = share[p] * reflected + (1 - share[p]) * blocked[p, c]
                diffuse = irradiance[p, c]
            else:
                diffuse, _, _ = _bilinear(table, around, c)
            f0 = _F0 + m * (base[p, c] - _F0)
            out[p, c] = reflected * (f0 * scale + bias) + base[p, c] * passed * diffuse


@_helper
@no_type_check
def _shade_backward_points(points, inputs, light, shadow, split_sum, grad_out, grads, grad_table):
    """Gradients of a range of points; those of the light are added up."""
    base, roughness, metallic, normal, wo = inputs
    table, levels, diffuse_row, diffuse_size = light
    share, irradiance, blocked = shadow
    to_base, to_roughness, to_metallic, to_normal, to_wo, to_irradiance, to_blocked = grads
    shadowed, half = share.shape[0] > 0, np.float32(0.5)
    for p in range(points[0], points[1]):
        n, view, m, r = _row(normal, p), _row(wo, p), metallic[p], roughness[p]
        d, k, smooth, cos, cos_v = _dominant(n, view, r)
        scale, bias, by_cos, by_rough = _split_sum(split_sum, cos_v, r)
        below, blend = _level_of(levels, r)
        near = _tap(d, levels[below, 2], levels[below, 1])
        far = _tap(d, levels[below + 1, 2], levels[below + 1, 1])
        around = _tap(n, diffuse_row, diffuse_size)
        kept, visible = 1 - _F0 * scale - bias, share[p] if shadowed else np.float32(1)
        passed = max(kept, np.float32(0)) * (1 - m)
        grad_scale = grad_bias = grad_m = grad_passed = grad_blend = np.float32(0)
        grad_u = grad_v = open_grad_u = open_grad_v = np.float32(0)
        for c in range(3):
            g, color = grad_out[p, c], base[p, c]
            sharp, sharp_x, sharp_y = _bilinear(table, near, c)
            blurred, blurred_x, blurred_y = _bilinear(table, far, c)
            mirrored = sharp + blend * (blurred - sharp)
            reflected = visible * mirrored + ((1 - visible) * blocked[p, c] if shadowed else np.float32(0))
            f0 = _F0 + m * (color - _F0)
            grad_reflected, grad_f0 = g * (f0 * scale + bias), g * reflected * scale
            grad_scale, grad_bias = grad_scale + g * reflected * f0, grad_bias + g * reflected
            if shadowed:
                diffuse = irradiance[p, c]
                to_irradiance[p, c] = g * color * passed
                to_blocked[p, c] = grad_reflected * (1 - visible)
            else:
                diffuse, by_x, by_y = _bilinear(table, around, c)
                _add_bilinear(grad_table, around, c, g * color * passed)
                by_open = g * color * passed * half * diffuse_size
                open_grad_u, open_grad_v = open_grad_u + by_open * by_x, open_grad_v + by_open * by_y
            to_base[p, c] = grad_f0 * m + g * passed * diffuse
            grad_m, grad_passed = grad_m + grad_f0 * (color - _F0), grad_passed + g * color * diffuse
            grad_light = grad_reflected * visible
            grad_blend += grad_light * (blurred - sharp)
            _add_bilinear(grad_table, near, c, grad_light * (1 - blend))
            _add_bilinear(grad_table, far, c, grad_light * blend)
            by_near, by_far = grad_light * (1 - blend) * levels[below, 1], grad_light * blend * levels[below + 1, 1]
            grad_u += by_near * sharp_x + by_far * blurred_x
            grad_v += by_near * sharp_y + by_far * blurred_y
        to_metallic[p] = grad_m - grad_passed * max(kept, np.float32(0))
        through = grad_passed * (1 - m) if kept > 0 else np.float32(0)
        grad_scale, grad_bias = grad_scale - _F0 * through, grad_bias - through
        grad_r = grad_scale * by_rough[0] + grad_bias * by_rough[1]
        if levels[0, 0] < r < levels[levels.shape[0] - 1, 0]:
            grad_r += grad_blend / (levels[below + 1, 0] - levels[below, 0])
        to_direction = _octahedral_backward(d, near[4], half * grad_u, half * grad_v)
        facing = _octahedral_backward(n, around[4], open_grad_u, open_grad_v)
        further = (grad_scale * by_cos[0] + grad_bias * by_cos[1], facing)
        mirror = (r, k, smooth, cos, cos_v)
        to_roughness[p] = grad_r + _dominant_backward(p, (n, view), mirror, to_direction, further, (to_normal, to_wo))


@_kernel
@no_type_check
def _shade_backward(inputs, light, shadow, split_sum, grad_out, grads, grad_tables):
    """Gradients of `_shade`; the light's in one sum per chunk of points."""
    count, chunks = grad_out.shape[0], grad_tables.shape[0]
    for chunk in numba.prange(chunks):
        points = (chunk * count // chunks, (chunk + 1) * count // chunks)
        _shade_backward_points(points, inputs, light, shadow, split_sum, grad_out, grads, grad_tables[chunk])


@_kernel
@no_type_check
def _visible_share(specular, size, knots, corners, weights, normal, wo, roughness, out):
    """Write the visible share of the specular lobe per point, from the stored shares (vertices, lobes, texels)."""
    for p in numba.prange(normal.shape[0]):
        d, _, _, _, _ = _dominant(_row(normal, p), _row(wo, p), roughness[p])
        u, v, _ = _octahedral(d[0], d[1], d[2])
        texels, fx, fy = _corners(u, v, size)
        rough = min(max(roughness[p], knots[0]), knots[knots.shape[0] - 1])
        below = 0
        while below < knots.shape[0] - 2 and knots[below + 1] <= rough:
            below += 1
        blend = (rough - knots[below]) / (knots[below + 1] - knots[below])
        share = np.float32(0)
        for k in range(3):
            vertex = corners[p, k]
            for step in range(2):
                weight = weights[p, k] * (blend if step else 1 - blend)
                lobe = below + step
                top = specular[vertex, lobe, texels[0]] * (1 - fx) + specular[vertex, lobe, texels[1]] * fx
                bottom = specular[vertex, lobe, texels[2]] * (1 - fx) + specular[vertex, lobe, texels[3]] * fx
                share += weight * (top * (1 - fy) + bottom * fy)
        out[p] = share


def fused_visible_share(
    specular: Float[Tensor, "vertices lobes directions"],
    lobes: tuple[float, ...],
    at: tuple[Int[Tensor, "points 3"], Float[Tensor, "points 3"]],
    inputs: tuple[Float[Tensor, "points 3"], Float[Tensor, "points 3"], Float[Tensor, "points"]],
) -> Float[Tensor, "points"]:
    """Visible share of the specular lobe around the dominant direction, constant for gradients.

    Args:
        specular: Shares stored at the vertices, per roughness of `lobes` and texel of an octahedral map.
        lobes: Rising roughness.
        at: Vertices around each point, and their weights.
        inputs: Normal, direction to the camera, and roughness.
    """
    if not len(at[0]) == len(at[1]) == len(inputs[0]) == len(inputs[1]) == len(inputs[2]):
        raise ValueError(f"{len(inputs[0])} normals at {len(at[0])} surface points")
    out = np.empty(len(inputs[0]), np.float32)
    arrays = [x.detach().contiguous().numpy() for x in (specular, *at, *inputs)]
    use_torch_threads()
    _visible_share(arrays[0], round(specular.shape[2] ** 0.5), np.array(lobes, np.float32), *arrays[1:], out)
    return torch.from_numpy(out)


Shadow = tuple[Float[Tensor, "points"], Float[Tensor, "points 3"], Float[Tensor, "points 3"]]


def fused_shade(
    light: PrefilteredLight, shadow: Shadow | None, inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
) -> Float[Tensor, "points 3"]:
    """`shade` in one pass.

    Args:
        light: The light in the open.
        shadow: Per point the visible share of the specular lobe (constant), irradiance / pi, and the radiance of what
            hides the rest; none in the open.
        inputs: Base colour, roughness, metallic, normal and direction to the camera, as `shade` takes them.
    """
    count = len(inputs[0])
    share, irradiance, blocked = shadow or (torch.empty(0), torch.empty(0, 3), torch.empty(0, 3))
    if shadow is not None and not len(share) == len(irradiance) == len(blocked) == count:
        raise ValueError(f"{count} points under the light of {len(share)}, {len(irradiance)} and {len(blocked)}")
    levels = np.array(light.levels, np.float32)
    placed = (levels, light.diffuse_row, DIFFUSE_SIZE)
    points = [x.expand(count, *x.shape[1:]) for x in inputs]
    color: Tensor = _FusedShade.apply(light.table, placed, share.detach(), irradiance, blocked, *points)
    return color


def can_fuse(*tensors: Tensor) -> bool:
    """Whether all tensors are what the kernels take."""
    return all(x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors)


class _FusedShade(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, placed: Any, *tensors: Tensor) -> Tensor:  # noqa: ANN401
        tensors = tuple(x.detach().contiguous() for x in (table, *tensors))
        ctx.save_for_backward(*tensors)
        ctx.placed = placed
        (map_, share, irradiance, blocked, *inputs), levels = (x.numpy() for x in tensors), placed
        out = np.empty((len(inputs[0]), 3), np.float32)
        split_sum = directional_albedo_table(torch.device("cpu")).numpy()
        use_torch_threads()
        _shade(*inputs, (map_, *levels), (share, irradiance, blocked), split_sum, out)
        return torch.from_numpy(out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        map_, share, irradiance, blocked, *inputs = (x.numpy() for x in ctx.saved_tensors)
        count = len(inputs[0])
        grads = [np.empty((count, 3) if x.ndim == 2 else count, np.float32) for x in inputs]
        to_shadow = [np.empty_like(irradiance), np.empty_like(blocked)]
        tables = np.zeros((_CHUNKS, *map_.shape), np.float32)
        split_sum = directional_albedo_table(torch.device("cpu")).numpy()
        shadow, light = (share, irradiance, blocked), (map_, *ctx.placed)
        incoming = grad.contiguous().numpy()
        use_torch_threads()
        _shade_backward(tuple(inputs), light, shadow, split_sum, incoming, (*grads, *to_shadow), tables)
        results = [torch.from_numpy(x) for x in (tables.sum(0), *to_shadow, *grads)]
        return results[0], None, None, *results[1:]
