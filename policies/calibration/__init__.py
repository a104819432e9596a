"""Where a camera is, what its lens does, and how late its stamps are, measured with a ChArUco board.

`board.py` finds the board in an image. From such views `intrinsics.py` computes the camera matrix and distortion,
`hand_eye.py` the camera's mount (started by `closed_form.py`, refused by `pose_diversity.py` where the poses do not
determine it), and `latency.py` the delay of its stamps. `sessions.py` collects the views, one image at a time, and says
what is still missing; `files.py` writes and reads what comes out, and `camera_parameters.py` reads what the policy's
node takes of it.
"""
