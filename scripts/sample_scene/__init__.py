"""The scene of the sample capture: shape, paint, prints and room, all procedural."""
