"""Rasterisation behind one protocol."""
