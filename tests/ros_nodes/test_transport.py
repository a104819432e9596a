from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ros_nodes import transport
from ros_nodes.resources import config_file
from ros_nodes.transport import PROFILE_VARIABLE, use_shared_memory_profile

NAMESPACE = {"f": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    monkeypatch.delenv(PROFILE_VARIABLE, raising=False)
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)


def test_the_shipped_profile_is_selected_and_reported(monkeypatch):
    report = use_shared_memory_profile()
    chosen = Path(transport.os.environ[PROFILE_VARIABLE])
    assert chosen == config_file("fastdds_shm.xml")
    assert str(chosen) in report


def test_a_profile_of_the_user_is_kept(monkeypatch):
    monkeypatch.setenv(PROFILE_VARIABLE, "/elsewhere.xml")
    assert "/elsewhere.xml" in use_shared_memory_profile()
    assert transport.os.environ[PROFILE_VARIABLE] == "/elsewhere.xml"


def test_an_empty_variable_switches_the_profile_off(monkeypatch):
    monkeypatch.setenv(PROFILE_VARIABLE, "")
    assert "switched off" in use_shared_memory_profile()


def test_another_middleware_is_left_alone(monkeypatch):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_zenoh_cpp")
    assert "rmw_zenoh_cpp" in use_shared_memory_profile()
    assert PROFILE_VARIABLE not in transport.os.environ


def test_without_shared_memory_the_profile_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(transport, "SHARED_MEMORY", tmp_path / "none")
    assert "not writable" in use_shared_memory_profile()
    assert PROFILE_VARIABLE not in transport.os.environ


def test_the_profile_has_room_for_camera_frames():
    root = ElementTree.parse(config_file("fastdds_shm.xml")).getroot()
    memory = root.find(".//f:transport_descriptor[f:type='SHM']", NAMESPACE)
    frame = 640 * 480 * 4
    assert int(memory.find("f:maxMessageSize", NAMESPACE).text) > 4 * frame
    assert int(memory.find("f:segment_size", NAMESPACE).text) >= 4 * int(
        memory.find("f:maxMessageSize", NAMESPACE).text
    )


def test_a_missing_config_file_is_named_with_what_there_is():
    with pytest.raises(FileNotFoundError, match=r"'nothing\.yaml'.*fastdds_shm\.xml"):
        config_file("nothing.yaml")
