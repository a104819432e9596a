"""Representation learning for robots: encoders, objectives and the episode data that every floor reads.

- `data/`: the episode format (LeRobot v3 and v2.1).
"""
