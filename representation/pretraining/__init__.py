"""Objectives that train encoders of pictures, videos, clouds or several sensors.

- `clip/`: pictures and their captions. Choose it where there are texts: its encoder answers phrases.
- `matryoshka.py`: labelled pictures, or pairs of views. Choose it where vectors are searched on a small computer: any
  prefix of its vectors will do. It also goes on top of another encoder.
"""
