"""What the robot has seen: storing it, finding it again, tracing it to where it came from.

- `origin_identification/`: the frame that an edited frame was made from. Choose it where pictures are restyled,
  compressed or translated, and labels, episodes or leaks between sets are to be found again.
- `grounded_language/`: a few symbols for each picture, invented by two networks that need them to understand each
  other. Choose it where a key is wanted that people can read, and that is searched by: `3-7-*-*`.
"""
