"""Decimation."""

import pytest

from pipeline.geometry.decimate import decimate
from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.mesh_ops import open_edges, signed_volume
from tests.shapes import capsule_sdf, grid, points, sphere, sphere_sdf, torus_sdf


def bodies():
    where = grid(49)
    p = points(where)
    yield sphere(49)
    yield marching_tetrahedra(torus_sdf(p), where)
    rod = capsule_sdf(p, (0.0, 0.5, 0.0), (0.0, 1.2, 0.0), 0.06)
    yield marching_tetrahedra(sphere_sdf(p, radius=0.6).minimum(rod), where)


def test_closed_stays_closed_and_keeps_its_volume():
    for vertices, faces in bodies():
        fewer_vertices, fewer = decimate(vertices, faces, max_faces=3000)
        assert 0.8 * 3000 < len(fewer) <= 3000
        assert open_edges(fewer) == 0
        assert fewer_vertices.dtype == vertices.dtype
        assert signed_volume(fewer_vertices, fewer) == pytest.approx(signed_volume(vertices, faces), rel=0.01)


def test_a_thin_rod_survives():
    *_, (vertices, faces) = bodies()
    fewer, _ = decimate(vertices, faces, max_faces=1000)
    assert fewer[:, 1].max() == pytest.approx(float(vertices[:, 1].max()), abs=0.01)


def test_a_mesh_within_the_budget_is_left_alone():
    vertices, faces = sphere(17)
    same_vertices, same_faces = decimate(vertices, faces, max_faces=len(faces))
    assert same_vertices is vertices
    assert same_faces is faces
