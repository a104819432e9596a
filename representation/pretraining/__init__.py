"""Objectives that train encoders of pictures, videos, clouds or several sensors.

- `clip/`: pictures and their captions. Choose it where there are texts: its encoder answers phrases.
- `tvts/`: clips of episodes and the sentences of their steps. Choose it where it matters what happened when.
- `i2p_mae/`: point clouds, with an encoder of pictures as teacher. Choose it where depth tells more than colour.
- `geodesic_mixup.py`: the same encoder, fine-tuned. Choose it where goal pictures and goal sentences share one index.
- `mochi.py`: two views of each picture against a queue. Choose it where frames look alike and nothing is known of them.
- `matryoshka.py`: labelled pictures, or pairs of views. Choose it where vectors are searched on a small computer: any
  prefix of its vectors will do. It also goes on top of another encoder.
- `mixed_barlow_twins.py`: two views of each picture, and mixtures of pictures. Choose it where frames are few.
- `customcontrast/`: views of each object from anywhere, with the name of its class. Choose it where one object is to be
  known again, whatever its pose, light and background.
- `madeleine/`: pictures with the depth and the segmentation of the same frames. Choose it where a simulator gives these
  and the robot will have a camera alone.
- `sie.py`: two views of each object and the rotation between them. Choose it where pose must not be lost.
"""
