import numpy as np

from representation.data.documents import documents
from representation.data.frames import Frames


def test_documents_hold_texts_names_and_states_but_not_clouds_and_times():
    columns = {
        "label": np.array([1, 0]),
        "observation.state": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "points": np.zeros((2, 512, 3)),
        "time": np.zeros(2),
        "progress": np.zeros(2),
        "signal": np.zeros((2, 5000)),
    }
    frames = Frames(
        np.zeros((2, 4, 4, 3), np.uint8), np.arange(2), columns, {"label": ("cup", "cube")}, ["lift it", "put it down"]
    )
    assert documents(frames, np.array([1, 0])) == [
        {"task": "put it down", "label": "cup", "observation": {"state": [3.0, 4.0]}},
        {"task": "lift it", "label": "cube", "observation": {"state": [1.0, 2.0]}},
    ]
    assert documents(Frames(frames.images, frames.episode), np.array([0])) == [{}]


def test_an_array_of_numbered_values_is_given_as_numbers():
    columns = {"segmentation": np.array([[[0, 1], [1, 0]]])}
    frames = Frames(np.zeros((1, 2, 2, 3), np.uint8), np.arange(1), columns, {"segmentation": ("table", "cube")})
    assert documents(frames, np.array([0])) == [{"segmentation": [[0, 1], [1, 0]]}]
