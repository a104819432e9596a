from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from representation.data.array_files import read_arrays


def lying(shape: tuple[int, ...]) -> bytes:
    """An array file whose header tells another shape than the eight numbers that follow."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + np.arange(8.0).tobytes()


def test_arrays_come_back_as_they_were_written(tmp_path):
    written = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(["one", "three"]), "c": np.array(4)}
    np.savez(tmp_path / "plain.npz", **written)
    np.savez_compressed(tmp_path / "packed.npz", **written)
    for name in ("plain", "packed"):
        found = read_arrays(tmp_path / f"{name}.npz")
        assert list(found) == list(written)
        for key, array in written.items():
            np.testing.assert_array_equal(found[key], array)
    assert list(read_arrays(tmp_path / "plain.npz", names=("c", "d"))) == ["c"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lying((10**12,)), r"a: expected 8000000000000 bytes of float64 \(1000000000000,\), found 64"),
        (lying((4,)), "a: expected 32 bytes"),
        (b"\x93NUMPY\x09\x00", r"version 1 or 2, found \(9, 0\)"),
        (lying((8,)).replace(b"}", b" "), "found: "),
        (b"text", "found: "),
        (b"", "found: "),
    ],
)
def test_an_array_that_is_not_what_its_header_says_is_refused_before_memory_is_taken(tmp_path, content, words):
    with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match=words) as refusal:
        read_arrays(tmp_path / "file.npz")
    assert str(refusal.value).startswith(f"{tmp_path / 'file.npz'}: expected an npz file of numbers")


def test_what_is_large_damaged_pickled_or_missing_is_refused(tmp_path):
    path = tmp_path / "file.npz"
    np.savez_compressed(path, a=np.zeros(1000))
    with pytest.raises(ValueError, match="expected at most 1000 bytes, found 8128"):
        read_arrays(path, max_bytes=1000)
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="a: expected numbers or text, found object"):
        read_arrays(path)
    np.savez_compressed(path, a=np.random.default_rng(0).random(1000))
    whole = path.read_bytes()
    for place in (100, len(whole) // 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="expected an npz file of numbers"):
            read_arrays(path)
    path.write_bytes(whole[:-40])
    with pytest.raises(ValueError, match="expected an npz file of numbers"):
        read_arrays(path)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")
