"""DTS: an autoencoder of time series whose numbers, and groups of numbers, mean something.

A window's vector is a group for what is done and one for who does it: an arm, its load, its sensors. Penalising the
whole KL divergence for independence makes a decoder of series ignore the vector; DTS gives the mutual information of
vector and window back, and penalises only the total correlation and what single numbers depart from the prior by.

Source: Learning Disentangled Representations for Time Series, Li, Chen, Zha, Du, Ni, Chen and Hu, 2021
(arXiv 2105.08179). Takes windows of signals (B, T, C), such as joint positions and velocities, efforts and grippers;
gives means and log variances of vectors (B, D), windows of vectors, skills and alarms along episodes.

There is no official code. Decided here: LSTMs both ways, the decoder sees z and its previous output at each step; in
training a part of the known previous values is hidden, and the weights of all that is not the likelihood rise from 0,
without which z stays unused. The mutual information's weight is beta - alpha, as the abstract says; a quotation of the
individual objective that rewards KL(q(z) || p(z)) is left out, as it contradicts that. Groups are made independent by
gradient reversal: an adversary per group fails to tell the other groups' targets. Those losses read means of vectors,
and have a weight, as they stand beside a likelihood that is a sum over a window. What follows skills and raises alarms
(`monitor`, `train`, `watch`) is ours.
"""

from representation.generative.dts.measures import active_units, mutual_information_gap, normalised_information
from representation.generative.dts.model import DTSConfig, DTSModel, DTSOutput, latent_traversal, sample
from representation.generative.dts.monitor import MonitorConfig, Segment, SkillMonitor, load, segments
from representation.generative.dts.objectives import (
    UNKNOWN,
    GroupHeads,
    Information,
    dts_group_loss,
    dts_individual_loss,
    gradient_reversal,
    information,
    kl_decomposition,
    reversal_strength,
)
from representation.generative.dts.training import TrainingOptions, fit

__all__ = [
    "UNKNOWN",
    "DTSConfig",
    "DTSModel",
    "DTSOutput",
    "GroupHeads",
    "Information",
    "MonitorConfig",
    "Segment",
    "SkillMonitor",
    "TrainingOptions",
    "active_units",
    "dts_group_loss",
    "dts_individual_loss",
    "fit",
    "gradient_reversal",
    "information",
    "kl_decomposition",
    "latent_traversal",
    "load",
    "mutual_information_gap",
    "normalised_information",
    "reversal_strength",
    "sample",
    "segments",
]
