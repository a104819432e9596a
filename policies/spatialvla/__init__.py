"""SpatialVLA: a vision-language-action policy with 3-D position encoding and adaptive action grids.

Qu et al., "SpatialVLA: Exploring Spatial Representations for Visual-Language-Action Model", RSS 2025, arXiv 2501.15830.
One image, its depth and an instruction in; a chunk of Cartesian actions out, three tokens per action.

Begin with `policy.py` (the `Policy`), then follow the data:

- `processor.py`: observation or dataset frames -> model inputs; `fitting.py` fits one to demonstrations,
  and `needed_inputs.py` says what it reads of a frame.
- `image_geometry.py`: crop and resize of colour, depth and intrinsics together.
- `text_tokenizer.py`: instruction -> ids; `action_grid.py`, `action_tokenizer.py`, `normalizer.py`: action <-> ids.
- `config.py`, `model.py`, `ego3d.py`, `state_encoder.py`, `decoder.py`: the network, from tiny to the released 4B.
- `decoding.py`: slot-wise greedy decoding with a key-value cache, token by token through `token_steps.py`.
- `checkpoint.py`, `processor_file.py`: weights and processor on disk.
"""
