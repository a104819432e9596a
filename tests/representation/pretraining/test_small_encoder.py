import torch

from representation.interface import DenseEncoder
from representation.pretraining.mochi import Config
from representation.pretraining.small_encoder import SmallEncoder


def test_the_vector_is_made_of_the_map():
    encoder = SmallEncoder("mochi", Config(), torch.Generator().manual_seed(0)).eval()
    assert isinstance(encoder, DenseEncoder)
    images = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    places, saliency = encoder.dense(images)
    assert places.shape == (3, 64, 4, 4)
    assert saliency.shape == (3, 4, 4)
    assert (saliency >= 0).all()
    torch.testing.assert_close(encoder.layers[-2:](places.flatten(1)), encoder.encode(images))
