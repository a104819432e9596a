"""D2NWG: a generator of weights, given a few samples of what they are to be for.

An autoencoder brings the weights of a zoo of trained heads to latents; a diffusion model draws latents given a vector
of the dataset; they decode to weights that work at once, or are a good start.

Source: Diffusion-Based Neural Network Weights Generation, Soro et al., ICLR 2025 (arXiv 2402.18153). Takes a zoo: state
dicts of one shape, each with features (C, n, d) of samples of its classes; and, to generate, features (C, shots, d) of
other classes. Gives state dicts, best first by their loss on the support.

Decided here. A head's rows follow the order of its classes, which set transformers do not see: with them ("set") heads
are brought to the order of the class means along the zoo's first direction; class means ("means") and the released
perceptron ("ordered") keep the order. Heads of a zoo are convex problems with one solution, so that it has no modes of
permuted units; zoos of deeper networks must share their first weights. Weights and features are standardised number by
number over the zoo. The last step of the sampler ends at no noise. Betas are scaled where there are fewer than 1024
steps. A network in layers is cut into equal parts, each with a latent of its own and the part's number as condition.
Running statistics of batch norms are weights like others. The log-variance of the autoencoder's loss is a constant 0.
"""

from representation.transfer.d2nwg.alignment import alignment_loss
from representation.transfer.d2nwg.diffusion import (
    MLPDenoiser,
    UNetDenoiser,
    WeightDiffusion,
    scaled_beta,
    sqrt_linear_betas,
)
from representation.transfer.d2nwg.generation import generate_weights, support_loss, tune_head
from representation.transfer.d2nwg.generator import GeneratorConfig, WeightGenerator, ZooEntry, load
from representation.transfer.d2nwg.head_zoo import build_zoo, draw_support, draw_tasks, task_rows, trained_head
from representation.transfer.d2nwg.set_encoder import ClassMeans, DatasetEncoder, OrderedEncoder, SetTransformer
from representation.transfer.d2nwg.training import GeneratorTraining, train_generator
from representation.transfer.d2nwg.vectorizer import WeightVectorizer, head_logits, with_classes_in_order
from representation.transfer.d2nwg.weight_vae import MLPWeightVAE, WeightVAE

__all__ = [
    "ClassMeans",
    "DatasetEncoder",
    "GeneratorConfig",
    "GeneratorTraining",
    "MLPDenoiser",
    "MLPWeightVAE",
    "OrderedEncoder",
    "SetTransformer",
    "UNetDenoiser",
    "WeightDiffusion",
    "WeightGenerator",
    "WeightVAE",
    "WeightVectorizer",
    "ZooEntry",
    "alignment_loss",
    "build_zoo",
    "draw_support",
    "draw_tasks",
    "generate_weights",
    "head_logits",
    "load",
    "scaled_beta",
    "sqrt_linear_betas",
    "support_loss",
    "task_rows",
    "train_generator",
    "trained_head",
    "tune_head",
    "with_classes_in_order",
]
