"""Shapes: grids, hulls, isosurfaces and mesh operations."""
