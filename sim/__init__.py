"""MuJoCo simulation of language-conditioned tabletop tasks, and the evaluation of policies in it.

Begin with `simulation.py` (the world, its cameras and its controller) and `tasks/` (what is asked and when it counts as
done); `env.py` wraps them for gymnasium, `collect.py` records demonstrations, `evaluate.py` measures policies.
"""
