"""Reflectance and light."""
