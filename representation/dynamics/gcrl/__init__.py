"""GCRL: where agents will go, by what holds everywhere and what is special to a place.

Source: Generative Causal Representation Learning for Out-of-Distribution Motion Forecasting, Shirahmad Gale Bagi,
Gharaee, Schulte and Crowley, ICML 2023 (arXiv 2302.08635). Tracks are (B, T, agents, 2), metres, at even times. Past
and future both come from z, which is alike in all environments, and s, whose distribution alone differs between them;
so that only the side of s must be trained again for a new place.

Read in this order: `flows.py` (densities), `pair.py` and `graph.py` (networks of two and of any number of agents),
`model.py` (`GCRL`), `training.py` (`fit`, `adapt`, errors), `scenes.py` (people who cross), `tracks.py` (files),
`train.py` (the command), `forecaster.py` (forecasts while tracks come in).

What differs from the published code: one Adam instead of four with the same rate; sums of logarithms are taken by
`logsumexp`, and weights of samples by softmax; terms are averaged over scenes, and over samples; recurrent states begin
with zeros; the encoders of the graph also see where agents are from each other, and its decoders tell changes of the
last displacement. Of what was published are absent: the channel that goes with the future in training and misleads in
the test (the robustness experiment), and reading the authors' weights, which are pickles.
"""

from representation.dynamics.gcrl.model import GCRL, GRAPH, GCRLConfig, load

__all__ = ["GCRL", "GRAPH", "GCRLConfig", "load"]
