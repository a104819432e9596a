"""Autoencoders, quantisers and diffusion: codes that can be read and decoded, and looks that can be changed."""
