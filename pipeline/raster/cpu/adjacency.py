"""Which face lies across each edge of a triangle mesh.

Edge e of a face runs between its corners e + 1 and e + 2 (modulo 3), so it lies opposite corner e.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, and kernels take arrays, not objects

import numpy as np
from numpy.typing import NDArray

from pipeline.raster.cpu.jit import helper, no_type_check, serial_kernel

# What stands in place of a neighbour: no other face at this edge, or more than one.
BORDER = -1
NON_MANIFOLD = -2


# Edges are first looked for beside their lower vertex, where the cache is warm, then anywhere: a vertex may
# have any number of edges.
_LOCAL_PROBES = 8


@helper
@no_type_check
def _slot(table, faces, low, high):
    """Where the edge between two vertices is in the hash table, or would go."""
    mask = np.uint64(table.shape[0] - 1)
    slot = np.uint64(low) * np.uint64(_LOCAL_PROBES) & mask
    probes = 0
    while table[slot] >= 0:
        f, e = table[slot] // 3, table[slot] % 3
        i, j = faces[f, (e + 1) % 3], faces[f, (e + 2) % 3]
        if min(i, j) == low and max(i, j) == high:
            break
        probes += 1
        if probes == _LOCAL_PROBES:
            mixed = np.uint64(low) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(high) * np.uint64(0xC2B2AE3D27D4EB4F)
            slot = (mixed ^ (mixed >> np.uint64(29))) & mask
        else:
            slot = (slot + np.uint64(1)) & mask
    return slot


@serial_kernel
@no_type_check
def find_neighbours(faces, table, neighbours):
    """Write (F, 3): 2 * face + (1 if both faces run along the edge in one direction), BORDER or NON_MANIFOLD.

    `table` starts at -1; its length is a power of two above the number of edges.
    """
    neighbours[:] = BORDER
    for f in range(faces.shape[0]):
        for e in range(3):
            i, j = faces[f, (e + 1) % 3], faces[f, (e + 2) % 3]
            slot = _slot(table, faces, min(i, j), max(i, j))
            if table[slot] < 0:
                table[slot] = 3 * f + e
                continue
            other, edge = table[slot] // 3, table[slot] % 3
            known = neighbours[other, edge]
            if known == BORDER and other != f:
                flipped = 1 if faces[other, (edge + 1) % 3] == i else 0
                neighbours[other, edge] = 2 * f + flipped
                neighbours[f, e] = 2 * other + flipped
                continue
            neighbours[f, e] = NON_MANIFOLD
            neighbours[other, edge] = NON_MANIFOLD
            if known >= 0:
                _disown(neighbours, faces, known // 2, i, j)


@helper
@no_type_check
def _disown(neighbours, faces, f, i, j):
    """Mark the edge of face f between two vertices as non-manifold."""
    for e in range(3):
        a, b = faces[f, (e + 1) % 3], faces[f, (e + 2) % 3]
        if (a == i and b == j) or (a == j and b == i):
            neighbours[f, e] = NON_MANIFOLD


def neighbours_of(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """The neighbour across each edge of each face, as `find_neighbours` encodes it."""
    neighbours = np.empty((len(faces), 3), np.int32)
    size = 1 << max(4, (4 * len(faces)).bit_length())
    find_neighbours(faces, np.full(size, -1, np.int32), neighbours)
    return neighbours
