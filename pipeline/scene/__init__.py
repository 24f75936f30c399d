"""Frozen values that flow through the pipeline: data only, no algorithms, no files."""

from pipeline.scene.asset import Asset
from pipeline.scene.camera import Camera
from pipeline.scene.capture import Capture, Photo, Photos, Verdict, View
from pipeline.scene.environment import Environment
from pipeline.scene.material import Material
from pipeline.scene.mesh import Mesh

__all__ = ["Asset", "Camera", "Capture", "Environment", "Material", "Mesh", "Photo", "Photos", "Verdict", "View"]
