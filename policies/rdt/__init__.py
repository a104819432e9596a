"""RDT-1B: a diffusion policy for two arms.

Liu et al., "RDT-1B: a Diffusion Foundation Model for Bimanual Manipulation", ICLR 2025, arXiv 2410.07864. Images of up
to three cameras at two instants, the joints and an instruction in; a chunk of actions out, drawn from noise.

Begin with `policy.py` (the `Policy`), then the action space that all robots share, the network, and how it is asked:

- `unified_space.py`: slots of the vector; `embodiment.py`: one robot's numbers in it.
- `config.py`, `position_tables.py`, `network.py`: the network, from tiny to the released sizes.
- `images.py`: pictures by the role of their camera; `image_tower.py`: their features.
- `joint_history.py`, `history_mixer.py`: the joints of many control steps, and the one vector that is made of them.
- `language.py`: embeddings of instructions; `embedding_files.py`, `embedding_folder.py`: on disk; `instructions.py`.
- `image_conditions.py`: keys and values of images, where missing ones cost nothing.
- `solver.py`, `sampling.py`: from noise to a chunk; `prefix.py`: one that goes on with the chunk before.
- `checkpoint.py`, `weights_file.py`: the released weights and other forms on disk; `settings.py`: what else is needed.

Training (`policies.train`) begins in `learner.py`:

- `demonstrations.py`: what is learned from; `lerobot_demonstrations.py`, `aloha_demonstrations.py`: the two formats.
- `fitted_embodiment.py`, `mixture.py`: several datasets in the unified space.
- `condition_dropping.py`, `augmentation.py`: what is random in a batch.
- `trained_network.py`, `adapted_maps.py`, `objective.py`: what is trained; `frozen_encoders.py`: what is not.
"""
