import pytest

from sim.collection_settings import COLLECTION_PATH, begin_collection, check_resumed_settings

BEGUN = {"task": "reach", "seed": 1, "noise": {"kick_rate": 0.03, "kick_steps": (2, 4)}, "cameras": ()}


def test_the_same_settings_are_taken(tmp_path):
    begin_collection(tmp_path, BEGUN)
    check_resumed_settings(tmp_path, BEGUN)


def test_every_other_setting_is_named_with_what_was_expected_and_found(tmp_path):
    begin_collection(tmp_path, BEGUN)
    with pytest.raises(ValueError, match="seed") as error:
        check_resumed_settings(tmp_path, BEGUN | {"seed": 2, "noise": {"kick_rate": 0.5, "kick_steps": (2, 4)}})
    assert "seed: expected 1, found 2" in str(error.value)
    assert "noise.kick_rate: expected 0.03, found 0.5" in str(error.value)
    assert "kick_steps" not in str(error.value)


def test_a_setting_that_only_one_of_the_two_knows_is_named(tmp_path):
    begin_collection(tmp_path, BEGUN)
    with pytest.raises(ValueError, match="gravity: expected 'nothing', found 9"):
        check_resumed_settings(tmp_path, BEGUN | {"gravity": 9})
    begin_collection(tmp_path, BEGUN | {"gravity": 9})
    with pytest.raises(ValueError, match="gravity: expected 9, found 'nothing'"):
        check_resumed_settings(tmp_path, BEGUN)


def test_a_dataset_that_does_not_tell_goes_on_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match=COLLECTION_PATH):
        check_resumed_settings(tmp_path, BEGUN)


def test_a_damaged_file_is_refused_by_name(tmp_path):
    begin_collection(tmp_path, BEGUN)
    (tmp_path / COLLECTION_PATH).write_text("{")
    with pytest.raises(ValueError, match=COLLECTION_PATH):
        check_resumed_settings(tmp_path, BEGUN)
