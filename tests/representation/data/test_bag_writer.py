from __future__ import annotations

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from representation.data.bag_messages import decode, definition, encode, make
from representation.data.bag_writer import BagTopic, BagWriter

STRING = "std_msgs/msg/String"


def text(value: str) -> bytes:
    return encode(make(STRING, data=value), STRING)


@pytest.fixture
def bag(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic(BagTopic("/instruction", STRING, latched=True, depth=1))
    writer.add_topic(BagTopic("/joy", "sensor_msgs/msg/Joy", reliable=False))
    for number in range(5):
        writer.write("/instruction", text(f"text {number}"), 1000 + number, 900 + number, number + 1)
    writer.close()
    return tmp_path / "bag"


def test_the_library_rosbags_reads_a_bag(bag):
    types = get_typestore(Stores.ROS2_JAZZY)
    with Reader(bag) as reader:
        topics = {connection.topic: connection for connection in reader.connections}
        assert topics["/instruction"].msgtype == STRING
        assert topics["/instruction"].digest == types.hash_rihs01(STRING)
        assert (topics["/instruction"].msgcount, topics["/joy"].msgcount) == (5, 0)
        (latched,) = topics["/instruction"].ext.offered_qos_profiles
        assert (latched.durability.name, latched.reliability.name, latched.depth) == ("TRANSIENT_LOCAL", "RELIABLE", 1)
        (volatile,) = topics["/joy"].ext.offered_qos_profiles
        assert (volatile.durability.name, volatile.reliability.name) == ("VOLATILE", "BEST_EFFORT")
        found = [(stamp, types.deserialize_cdr(data, STRING).data) for _, stamp, data in reader.messages()]
        assert found == [(1000 + number, f"text {number}") for number in range(5)]
        assert (reader.message_count, reader.start_time, reader.duration) == (5, 1000, 5)


def test_the_library_mcap_reads_a_bag_by_its_index(bag):
    with (bag / "bag_0.mcap").open("rb") as stream:
        reader = make_reader(stream)
        assert reader.get_header().profile == "ros2"
        assert reader.get_summary().chunk_indexes
        messages = list(reader.iter_messages(["/instruction"], starting_at=1002))
    assert [(message.log_time, message.publish_time, message.sequence) for _, _, message in messages] == [
        (1002, 902, 3),
        (1003, 903, 4),
        (1004, 904, 5),
    ]
    schema, channel, _ = messages[0]
    assert (schema.name, schema.encoding, channel.message_encoding) == (STRING, "ros2msg", "cdr")
    assert schema.data.decode() == definition(STRING)


def test_metadata_are_those_of_rosbag2(bag):
    found = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (found["version"], found["storage_identifier"], found["ros_distro"]) == (9, "mcap", "jazzy")
    assert found["relative_file_paths"] == ["bag_0.mcap"]
    assert found["topics_with_message_count"][0]["topic_metadata"]["serialization_format"] == "cdr"


def test_definitions_name_the_types_that_they_use():
    found = definition("sensor_msgs/msg/JointState")
    assert found.startswith("std_msgs/Header header")
    assert "MSG: std_msgs/Header" in found
    assert "MSG: builtin_interfaces/Time" in found


def test_a_message_comes_back(tmp_path):
    assert decode(text("grün"), STRING).data == "grün"


def test_what_cannot_be_recorded_is_refused_by_name(bag, tmp_path):
    with pytest.raises(ValueError, match="expected a new directory"):
        BagWriter(bag)
    writer = BagWriter(tmp_path / "other")
    with pytest.raises(ValueError, match="my_msgs/msg/Secret"):
        writer.add_topic(BagTopic("/secret", "my_msgs/msg/Secret"))
    writer.add_topic(BagTopic("/joy", "sensor_msgs/msg/Joy"))
    with pytest.raises(ValueError, match="'/joy'"):
        writer.add_topic(BagTopic("/joy", "sensor_msgs/msg/Joy"))
    writer.close()
