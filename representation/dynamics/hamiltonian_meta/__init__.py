"""A Hamiltonian network that a few samples adapt to the law of a new mechanical system.

Source: Towards Cross Domain Generalization of Hamiltonian Representation via Meta Learning, Song and Jeong, ICLR 2024
(arXiv 2212.01168). States are (B, bodies, 2 d): d coordinates q, then d momenta p, of each body. The network gives the
energy, its derivatives give the rates, and meta-training over several laws puts its weights where a few gradient steps
on fifty states of a new one fit it.

Read in this order: `systems.py` (the laws that are learned from), `network.py` (`HamiltonianNet`), `adaptation.py`
(`adapt`, `maml_train`, `joint_train`), `rollout.py` (what will happen), `energy_alarm.py` (whether something happened:
a collision, a slip), `tool_watch.py` (the same as readings come), `joint_readings.py` (bags and datasets),
`mujoco_passive.py` (momenta of coupled joints), `train.py` and `watch.py` (the commands).

The authors publish no code. Ours are therefore: two rounds of messages, Mish, an absolute loss, unit masses.
"""

from representation.dynamics.hamiltonian_meta.network import HamiltonianConfig, HamiltonianNet, load

__all__ = ["HamiltonianConfig", "HamiltonianNet", "load"]
