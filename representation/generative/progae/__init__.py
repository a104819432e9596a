"""ProGAE: an autoencoder of chains that has their shape in one code, and how they lie in another.

The code of shape is made from contacts and distances between nodes, which no rigid motion changes; that of directions
from the unit vectors of the bonds. One decoder makes nodes of both. Encoders take any number of nodes, and all of the
decoder but one dense layer is the same for any, so that a cable of other length needs few frames (`transfer`).

Source: Learning Geometrically Disentangled Representations of Protein Folding Simulations, Tatro, Das, Chen,
Chenthamarakshan and Lai, 2022 (arXiv 2205.10423). Takes nodes (B, n, 3) of cables, arms or backbones in order; gives
`ChainCode`, codes (B, 16) and (B, 16), and nodes about their mean. Where a chain is, is in neither code.

No code of the paper is public. Decided here:

- Sizes of all networks. Features of the encoders are averaged over two halves of the chain, so that its ends differ.
- A small network mixes the codes before the dense layer: a turned shape is a product of shape and turn, which one
  linear map of both leaves to the convolutions.
- Features are upsampled linearly, and the last layer gives bonds, which are added up to nodes: a chain of 32 nodes is
  as long as 31 bonds, and coordinates would have to be right to a hundredth of it for bonds to be right to a third.
- Contacts are a sigmoid of the distance, half at 3 bonds for cables and at 8 angstrom for proteins (`--protein`, where
  all frames are also aligned to the first, and the second code then tells of no pose).
- The lengths of bonds have a loss of their own (the earlier version of the paper has them as the intrinsic geometry).
- `cross_weight` also trains swaps: nodes decoded from the shape of one chain and the directions of another must have
  the contacts and distances of the one, and the code of directions of the other. It compares what the first encoder
  sees and not what it says, as codes can be made alike by making them small. Without it the code of directions, which
  could tell all of the chain, does, and the decoder takes the shape from there. It is off unless asked for; `fit` asks.
- Contacts are blind to mirroring; handedness comes from the code of directions.

`fit` trains, `shape_goals` makes goals for a cable, `chains` reads files and simulators, `ensembles` draws chains.
"""

from representation.generative.progae.chains import (
    Chains,
    chain_from_mujoco,
    open_chains,
    read_backbone,
    read_chains,
    write_chains,
)
from representation.generative.progae.ensembles import frenet_chains, helix_hinge
from representation.generative.progae.geometry import bond_orientations, contact_map, kabsch
from representation.generative.progae.model import ChainCode, ProGAE, ProGAEConfig, load, transfer
from representation.generative.progae.sampler import LatentSampler
from representation.generative.progae.shape_goals import shape_goals
from representation.generative.progae.training import disentanglement, reconstruction, swaps, train

__all__ = [
    "ChainCode",
    "Chains",
    "LatentSampler",
    "ProGAE",
    "ProGAEConfig",
    "bond_orientations",
    "chain_from_mujoco",
    "contact_map",
    "disentanglement",
    "frenet_chains",
    "helix_hinge",
    "kabsch",
    "load",
    "open_chains",
    "read_backbone",
    "read_chains",
    "reconstruction",
    "shape_goals",
    "swaps",
    "train",
    "transfer",
    "write_chains",
]
