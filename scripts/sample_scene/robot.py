"""The object: a tin robot of cork, painted tin, copper, steel and brass."""

import math

import numpy as np

from sample_scene import paint
from sample_scene.surfaces import Part, ball, hose, lathe, rounded, torus


def robot() -> list[Part]:
    """The object: cork foot, painted body, copper head, steel arms, brass key."""
    foot = [(0, 0.033), (0.045, 0.033), (0.051, 0.001), (0.049, 0.0), (0, 0.0)]
    body = [(0, 0.102), (0.024, 0.102), (0.040, 0.094), (0.0435, 0.064), (0.0375, 0.031), (0, 0.031)]
    head = [(0, 0.158), (0.012, 0.157), (0.023, 0.152), (0.030, 0.142), (0.0305, 0.111), (0.027, 0.108), (0, 0.108)]
    eye = [(0, 0.0355), (0.0055, 0.0355), (0.0062, 0.0372), (0.0092, 0.0372), (0.0092, 0.020), (0, 0.020)]
    ear = [(0, 0.0405), (0.005, 0.0405), (0.009, 0.0375), (0.0105, 0.024), (0, 0.024)]
    collar = [(0, 0.110), (0.021, 0.110), (0.021, 0.100), (0, 0.100)]
    shaft = [(0, 0.060), (0.0034, 0.060), (0.0034, 0.035), (0, 0.035)]
    stem = [(0, 0.176), (0.0026, 0.176), (0.0026, 0.161), (0.006, 0.155), (0, 0.155)]
    left = [
        (-0.036, 0.089, 0),
        (-0.058, 0.085, 0.001),
        (-0.068, 0.070, 0.004),
        (-0.058, 0.053, 0.010),
        (-0.044, 0.046, 0.015),
    ]
    right = [(0.036, 0.089, 0), (0.056, 0.089, 0.002), (0.068, 0.100, 0.006), (0.0715, 0.118, 0.010)]
    bend = np.radians(np.linspace(-130.0, 130.0, 9))
    claw = [(0.0725 + 0.0095 * math.sin(a), 0.1335 - 0.0095 * math.cos(a), 0.0125) for a in bend]
    parts = {
        "foot": (lathe(rounded(foot, 0.004), segments=96), paint.paint_cork),
        "body": (lathe(rounded(body, 0.009), segments=120), paint.paint_body),
        "head": (lathe(rounded(head, 0.006), segments=96), paint.paint_head),
        "waist": (torus((0, 0.0325, 0), (0, 1, 0), 0.0385, 0.0036), paint.paint_copper),
        "collar": (lathe(rounded(collar, 0.001), segments=64), paint.paint_steel),
        "eye_l": (lathe(rounded(eye, 0.0012, 0.0012), (-0.0125, 0.134, 0), (0, 0, 1), 48), paint.paint_eye),
        "eye_r": (lathe(rounded(eye, 0.0012, 0.0012), (0.0125, 0.134, 0), (0, 0, 1), 48), paint.paint_eye),
        "ear_l": (lathe(rounded(ear, 0.003), (0, 0.131, 0), (-1, 0, 0), 48), paint.paint_ear),
        "ear_r": (lathe(rounded(ear, 0.003), (0, 0.131, 0), (1, 0, 0), 48), paint.paint_ear),
        "stem": (lathe(rounded(stem, 0.002), segments=24), paint.paint_steel),
        "bulb": (ball((0, 0.180, 0), 0.0078), paint.paint_red),
        "shoulder_l": (ball((-0.040, 0.0885, 0), 0.0098, (-1, 0, 0)), paint.paint_copper),
        "shoulder_r": (ball((0.040, 0.0885, 0), 0.0098, (1, 0, 0)), paint.paint_copper),
        "arm_l": (hose(left, 0.0056, 11, (0, 0, 1)), paint.paint_steel),
        "arm_r": (hose(right, 0.0056, 8, (0, 0, 1)), paint.paint_steel),
        "hand_l": (ball((-0.045, 0.0465, 0.0145), 0.0082), paint.paint_red),
        "cuff_r": (ball((0.0720, 0.1215, 0.0112), 0.0078), paint.paint_red),
        "claw_r": (hose(claw, 0.0040, 0, (0, 0, 1)), paint.paint_red),
        "shaft": (lathe(rounded(shaft, 0.0005), (0, 0.068, 0), (0, 0, -1), 24), paint.paint_brass),
        "key_l": (torus((-0.0105, 0.068, -0.0585), (0, 0, 1), 0.0088, 0.0030, (48, 14)), paint.paint_brass),
        "key_r": (torus((0.0105, 0.068, -0.0585), (0, 0, 1), 0.0088, 0.0030, (48, 14)), paint.paint_brass),
    }
    buried = {"foot": 0.036, "body": 0.023, "collar": 0.0195}
    return [
        Part(name=name, grid=grid, paint=painter, buried=buried.get(name, 0.0))
        for name, (grid, painter) in parts.items()
    ]
