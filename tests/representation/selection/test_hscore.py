import numpy as np

from representation.selection.hscore import hscore


def crowded(classes=5, d=16, seed=0, each=30, apart=1.0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), each)
    return apart * rng.normal(size=(classes, d))[y] + rng.normal(size=(len(y), d)), y


def test_the_h_score_of_far_classes_is_nearly_their_number_less_one():
    x, y = crowded(4, 5, each=300, apart=30.0)
    assert 2.7 < hscore(x, y) <= 3
    assert hscore(np.random.default_rng(0).normal(size=x.shape), y) < 0.1
