"""Gaunt tensor products: fast products of features that turn with space, and an encoder of clouds made of them.

Source: Enabling Efficient Equivariant Operations in the Fourier Basis via Gaunt Tensor Products, Luo, Chen and
Krishnapriyan, ICLR 2024 (arXiv 2401.10216). Clouds (B, N, 3) become features of several degrees at points.

A feature of degrees 0 to L is a function on the sphere, in the order and with the signs of e3nn. The product of two is
that of their values, computed on a grid of both angles with Fourier transforms: O(L^3) where sums over all paths of
Clebsch-Gordan coefficients take O(L^6). Cross products, and all other paths of an odd sum of degrees, are not there:
`odd_product` has these, and no others.

Read in this order: `spherical_harmonics.py` (the basis, how it turns), `fourier.py` (to frequencies and back),
`product.py` (`gaunt_tensor_product`), `odd_product.py` (what it leaves out), `layers.py` (with weights), `point_net.py`
(`GauntPointNet`), `cluster_net.py` (`ClusterNet`, of positions and species), `encoder.py` (`GauntEncoder`: clouds to
scalars and vectors; `new` and `load`).

What differs from the published code: transforms are of real functions, tables are made from the formulas in double
precision, outputs are scaled to unit variance, and powers are taken of values on one grid.
"""

from representation.equivariant.gaunt_tensor_product.cluster_net import ClusterNet
from representation.equivariant.gaunt_tensor_product.encoder import Config, GauntEncoder, load, new
from representation.equivariant.gaunt_tensor_product.odd_product import odd_product
from representation.equivariant.gaunt_tensor_product.point_net import GauntPointNet
from representation.equivariant.gaunt_tensor_product.product import gaunt_coefficients, gaunt_tensor_product

__all__ = [
    "ClusterNet",
    "Config",
    "GauntEncoder",
    "GauntPointNet",
    "gaunt_coefficients",
    "gaunt_tensor_product",
    "load",
    "new",
    "odd_product",
]
