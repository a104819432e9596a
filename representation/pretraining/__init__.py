"""Objectives that train encoders of pictures, videos, clouds or several sensors.

- `clip/`: pictures and their captions. Choose it where there are texts: its encoder answers phrases.
"""
