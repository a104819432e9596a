"""Demonstrations: what a frame of one holds, and how recordings become datasets of them.

- `demonstration_frames.py`: features of a frame, from an observation and an action.
- `bag_episodes.py`: observations and commanded motion of the marked episodes of a bag.
- `recorded_path.py`: the joint path of an episode, for replay.
- `convert.py`: `python -m policies.data.convert`, bags into a LeRobot dataset.
"""
