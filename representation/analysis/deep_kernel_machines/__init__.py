"""Deep kernel machines: Gaussian processes in layers whose kernels are learned, for small data and calibrated variance.

Source: A theory of representation learning gives a deep generalisation of kernel methods, Yang, Robeyns, Milsom, Anson,
Schoots and Aitchison, ICML 2023 (arXiv 2108.13097). Takes inputs (n, d) and targets (n, C), or classes (n,); gives
means and variances of what will be seen there, and the Gram matrix (n, n) of every layer.

A network of infinite width has fixed kernels, K(G_0), K(K(G_0)) and so on (NNGP), and learns no representation. Here
the Gram matrix G_l of each layer is free: it is drawn to the kernel of the layer below by nu_l KL(N(0, G_l) || N(0,
K(G_{l-1}))), and to the targets by the likelihood. With nu infinite it is the NNGP; the smaller nu, the more the data
shape the kernels. Small nu overfits: choose it by held-out data, as the command does, or take 10 for each output.

Read in this order: `kernels.py` (kernels as functions of Gram matrices), `gaussians.py` (divergences, and what follows
for new points), `full.py` (`DeepKernelMachine`: one Gram matrix of all points for each layer), `sparse.py`
(`SparseDKM`: of a few inducing points, linear in the data), `tables.py`, `predictor.py` and `fit.py` (the command).

Decided where the paper was not at hand: inputs of a layer are those of the paper, G_0 = X X^T / d; the jitter of a
kernel is an independent part of it, so new points have it too; kernels have learned scales, which stay as they are in
`DeepKernelMachine` unless asked. The surrogate of the divergence, called `taylor`, is the squared norm of the
difference after whitening: that of G^-1 K - I itself is not what the divergence tends to, as that is not symmetric.
"""

from representation.analysis.deep_kernel_machines.full import DeepKernelMachine, deep_linear_solution
from representation.analysis.deep_kernel_machines.gaussians import gaussian_kl, taylor_divergence
from representation.analysis.deep_kernel_machines.kernels import (
    ArccosKernel,
    GramTriple,
    SqExpKernel,
    kernel_alignment,
    nngp,
)
from representation.analysis.deep_kernel_machines.predictor import Predictor, load
from representation.analysis.deep_kernel_machines.sparse import Predictive, SparseDKM

__all__ = [
    "ArccosKernel",
    "DeepKernelMachine",
    "GramTriple",
    "Predictive",
    "Predictor",
    "SparseDKM",
    "SqExpKernel",
    "deep_linear_solution",
    "gaussian_kl",
    "kernel_alignment",
    "load",
    "nngp",
    "taylor_divergence",
]
