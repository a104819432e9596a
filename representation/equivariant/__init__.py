"""Encoders that respect rotations, motions and affine maps."""
