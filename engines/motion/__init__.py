"""What moves between two frames: optical flow, its trust, the camera, and the grid that follows it."""
