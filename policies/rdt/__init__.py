"""RDT-1B (arXiv 2410.07864): a diffusion policy for two arms."""
