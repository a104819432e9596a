"""Franka Emika Panda with the Franka Hand: `panda.py` (limits, home, workspace) and `panda.xml` (MJCF)."""
