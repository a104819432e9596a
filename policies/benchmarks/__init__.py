"""Benchmarks of the policies, run by `python -m policies.bench`."""
