"""Benchmarks of the simulation, run by `python -m sim.bench`.

`simulation_speed.py` compares control steps per second with other simulations and says what a frame costs.
`environments.py` installs those, each in a virtual environment of its own; `step_rate.py` is the script that every
system is measured with, by its own Python.
"""
