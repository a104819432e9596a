"""Representation learning for robots: encoders, objectives and the episode data that every floor reads.

A published system is found by its name in `registry.py`, which says where it lives and where it meets the stack.

- `interface.py`: what systems have in common, a handful of small protocols.
- `pretraining/`: objectives that train an encoder. `python -m representation.pretrain`, then `.probe` and `.embed`;
  `python -m representation.list` shows them all.
- `compatibility/`: replacing an encoder whose vectors are stored. `python -m representation.upgrade` chooses how.
- `equivariant/`: encoders of clouds that respect motions, and heads for grasps.
  `python -m representation.equivariant.cloud_report` tells how far they are off.
- `selection/`: which encoder to take for a task. `python -m representation.select` ranks them by a few labelled frames.
- `memory/`: what the robot has seen, stored and found again. `python -m representation.memory`.
- `analysis/`: why an encoder works or fails. `python -m representation.explain` shows what it keeps and drops,
  `python -m representation.analysis.vet_features` finds readings whose rule holds in other setups.
- `training.py`: the one training loop, of encoders and of policies; `training_state.py` and `metrics_log.py` are its
  parts, `objective_learner.py` puts an objective into it.
- `probes.py`: the common yardstick. `embedding.py`: vectors of many frames. `checkpoint.py`: encoders on disk.
- `hypersphere.py`: how unit vectors lie to each other; `pair_report.py`: how those of pictures and texts do.
- `data/`: episodes (LeRobot v3 and v2.1, ROS bags) and `Frames`: pictures and what is known of them.
"""
