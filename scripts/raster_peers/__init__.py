"""The peers that `scripts/bench_raster.py` times, each as a step from vertices to their gradient."""
