"""The embedded rasteriser for machines without a GPU."""
