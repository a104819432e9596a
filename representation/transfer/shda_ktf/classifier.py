"""`KTFClassifier`: KTF as scikit-learn's classifiers are used, with classes of any names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from representation.transfer.shda_ktf.fitting import fit_ktf
from representation.transfer.shda_ktf.sources import Labelled


class KTFClassifier(ClassifierMixin, BaseEstimator):
    """Learns from a few labelled and many unlabelled vectors; predicts vectors to come.

    Args:
        source: see `fit_ktf`; its class k stands for the k-th of `classes_`.
        beta: likewise.
        mu: likewise.
        tau: likewise.
        lr: likewise.
        steps: likewise.
        seed: likewise.
        priors: likewise, in the order of `classes_`.
        ramp: likewise.

    Attributes:
        classes_: (C,) in order.
        result_: of `fit_ktf`.
    """

    def __init__(
        self,
        source: Labelled | None = None,
        beta: float = 0.1,
        mu: float = 1.0,
        tau: float = 0.05,
        lr: float = 1e-3,
        steps: int = 600,
        seed: int = 0,
        priors: ArrayLike | None = None,
        ramp: bool = False,
    ) -> None:
        self.source, self.beta, self.mu, self.tau, self.lr = source, beta, mu, tau, lr
        self.steps, self.seed, self.priors, self.ramp = steps, seed, priors, ramp

    def fit(self, xl: ArrayLike, yl: ArrayLike, xu: ArrayLike) -> KTFClassifier:
        """Train on labelled vectors (n_l, D), their classes (n_l,) and unlabelled vectors (n_u, D).

        Raises:
            ValueError: see `fit_ktf`.
        """
        self.classes_, places = np.unique(np.asarray(yl), return_inverse=True)
        settings: dict[str, Any] = self.get_params(deep=False)
        priors = settings.pop("priors")
        self.result_ = fit_ktf(
            _tensor(xl),
            torch.from_numpy(places),
            _tensor(xu),
            priors=None if priors is None else _tensor(priors),
            **settings,
        )
        return self

    def predict_proba(self, x: ArrayLike) -> NDArray[np.float32]:
        """(n, C) probabilities of `classes_`."""
        check_is_fitted(self, "result_")
        return self.result_.probabilities(_tensor(x)).numpy()

    def predict(self, x: ArrayLike) -> NDArray:
        """(n,) classes of vectors (n, D)."""
        probabilities = self.predict_proba(x)
        return self.classes_[probabilities.argmax(axis=1)]


def _tensor(x: ArrayLike) -> torch.Tensor:
    return torch.as_tensor(np.asarray(x), dtype=torch.float32)
