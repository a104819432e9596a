"""Invariant features of linear models, with a certificate for environments that were not seen.

Logs come from several environments: grippers, tables, payloads. Some features predict an outcome by the same linear
rule in all of them, others by one that changes. If the rule of a subset of features is nearly the same in n random
environments, then with high probability it stays so in most others of the family; how sure that is can be computed, and
needs no assumption on what causes what. It holds for linear predictors of a few features (or of fixed functions of
them), and says nothing of environments of another family. What is invariant need not be a cause.

Source: PAC Generalization via Invariant Representations, Parulekar, Shanmugam and Shakkottai, ICML 2023
(arXiv 2205.15196). Takes a list of environments, features (n, d) and outcomes (n,) each; gives subsets of the features
with their coefficients, what they change by, and a certificate; and the linear models that such data come from.

- `sem.py`: linear structural equation models and interventions.
- `subsets.py`: coefficients by environment, invariant subsets, generalisation, the pooled baseline.
- `certificate.py`: how sure it is, and how many environments that takes.
- `search.py`: for many features: a greedy search, and (experimental) linear maps instead of subsets.

What was decided here: noise is given by its standard deviation, 0.02 in the paper's example. Subsets are columns of the
features; interventions name nodes of the model, of which the target is one. The certificate is for the rule
`anchor_max` with the first environment's coefficients; `pairwise_mean` is the rule of the paper's experiments. No
intercept is fitted unless asked for, so environments with shifted means should be centred.
"""

from representation.analysis.pac_invariant.certificate import coefficient_bands, envs_needed, pac_certificate
from representation.analysis.pac_invariant.search import greedy_subsets, invariant_map
from representation.analysis.pac_invariant.sem import LinearSEM, example_sem
from representation.analysis.pac_invariant.subsets import (
    InvariantSubset,
    Moments,
    environment_coefficients,
    generalization_rate,
    invariant_subsets,
    moments_of,
    pooled_erm,
    population_moments,
)

__all__ = [
    "InvariantSubset",
    "LinearSEM",
    "Moments",
    "coefficient_bands",
    "environment_coefficients",
    "envs_needed",
    "example_sem",
    "generalization_rate",
    "greedy_subsets",
    "invariant_map",
    "invariant_subsets",
    "moments_of",
    "pac_certificate",
    "pooled_erm",
    "population_moments",
]
