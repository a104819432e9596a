"""Replacing an encoder while what the old one stored stays in use; `python -m representation.upgrade` chooses how.

- `relative_representations/`: vectors told by their cosines to anchors. Choose it where nothing is labelled and nothing
  shall be trained: the anchors' pictures are all that is needed.
- `oca.py`: a new encoder whose first numbers lie in the old space. Choose it where there are labels; of the old encoder
  it needs class prototypes only.
- `bt2.py`: the same between the old encoder and an independent new one. Choose it where the new one is there already
  and shall lose nothing.
- `d_simplex.py`: all versions under one frozen classifier. Choose it before the first version is trained.

They share `retrieval.py` (vectors of different lengths, and how well they find), `class_prototypes.py`,
`orthogonal_linear.py`, `class_logits.py`, `picture_encoder.py` (backbone, head and labelled views) and
`released_weights.py`.
"""
