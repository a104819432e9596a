import numpy as np

from representation.selection.nleep import nleep


def crowded(classes=5, d=16, seed=0, each=30, apart=1.0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), each)
    return apart * rng.normal(size=(classes, d))[y] + rng.normal(size=(len(y), d)), y


def test_nleep_repeats_itself_and_tells_features_from_noise():
    x, y = crowded(3, 8, apart=3.0)
    assert nleep(x, y, seed=1) == nleep(x, y, seed=1)
    noise = np.random.default_rng(0).normal(size=(300, 8))
    labels = np.arange(300) % 3
    assert nleep(x, y, components_per_class=1) > 0.9
    assert nleep(noise, labels, components_per_class=1) < 0.5
