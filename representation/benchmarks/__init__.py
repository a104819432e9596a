"""Benchmarks of the representation systems, run by `python -m representation.bench`: a module each, with a `run`.

`claims.py` says what a benchmark is asked and what it answers.
"""
