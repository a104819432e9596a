"""Encoders of graphs, sets and long sequences."""
