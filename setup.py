"""polyarm as a Python distribution and, with `package.xml`, as an `ament_python` package."""

from __future__ import annotations

from glob import glob

from setuptools import find_packages, setup

PACKAGE = "polyarm"
NODES = (
    "arm_gateway_node",
    "bringup",
    "calibrate_cameras",
    "dashboard",
    "episode_runner_node",
    "faulty_policy_node",
    "forecast_node",
    "gripper_action_node",
    "keyboard_joy_node",
    "memory_node",
    "perception_node",
    "policy_node",
    "recorder_node",
    "replay_node",
    "separation_node",
    "simulator_node",
    "teleop_node",
    "tool_watch_node",
    "track_player_node",
    "transport_check",
)

REQUIREMENTS = [
    "daqp>=0.5",
    "defusedxml>=0.7",
    "einops>=0.8",
    "huggingface-hub>=0.30",
    "mink>=1.0",
    "mujoco>=3.8",
    "numpy>=1.26",
    "pyyaml>=6.0",
    "qpsolvers>=4.3",
    "safetensors>=0.5",
    "scipy>=1.13",
    "torch>=2.6",
    "tqdm>=4.66",
    "tyro>=0.9",
]
EXTRAS = {
    # Where ROS 2 comes from apt, leave this extra out: pip must not shadow the distribution's rclpy.
    "ros": [
        "opencv-python-headless>=4.9",
        "ros-action-msgs>=2.0,<2.1",
        "ros-diagnostic-msgs>=5.3,<5.4",
        "ros-geometry-msgs>=5.3,<5.4",
        "ros-jazzy-rclpy[fastrtps]>=7.1,<8",
        "ros-sensor-msgs>=5.3,<5.4",
        "ros-std-msgs>=5.3,<5.4",
        "ros-std-srvs>=5.3,<5.4",
        "ros-trajectory-msgs>=5.3,<5.4",
        "ros-visualization-msgs>=5.3,<5.4",
    ],
    "sim": [
        "av>=12",
        "gymnasium>=1.0",
        "jinja2>=3.1",
        "markupsafe>=2.1",
        "matplotlib>=3.8",
        "opencv-python-headless>=4.9",
        "pandas>=2.2",
        "pyarrow>=16",
    ],
    "record": [
        "av>=12",
        "lz4>=4.3",
        "mcap>=1.2",
        "opencv-python-headless>=4.9",
        "pyarrow>=16",
        "pyyaml>=6.0",
        "rosbags>=0.10",
        "zstandard>=0.22",
    ],
    "memory": ["lance-namespace>=0.13", "lancedb>=0.40", "opencv-python-headless>=4.9", "pyarrow>=16"],
    "remote": ["msgpack>=1.0.8", "pillow>=10", "websockets>=17.1"],
    "menagerie": ["mujoco-menagerie>=2026.1"],
    # The commands of policies.calibration without ROS.
    "calibration": ["opencv-python-headless>=4.9", "pyyaml>=6.0"],
    "train": [
        "accelerate>=1.0",
        "diffusers>=0.35",
        "ftfy>=6.2",
        "h5py>=3.11",
        "matplotlib>=3.8",
        "networkx>=3.2",
        "opencv-python-headless>=4.9",
        "pandas>=2.2",
        "peft>=0.15",
        "pillow>=10",
        "pyarrow>=16",
        "scikit-learn>=1.4",
        "tokenizers>=0.21",
        "transformers>=4.50",
    ],
    "ray": ["ray>=2.40"],
    # Takes MuJoCo below 3.9; beside a newer one it gets an environment of its own, see sim/gym_aloha/environment.py.
    "gym-aloha": ["gym-aloha==0.1.5"],
    "dev": [
        "e3nn>=0.6",
        "flask>=3",
        "flask-cors>=5",
        "hypothesis>=6.100",
        "moto[s3]>=5",
        "mypy>=1.11",
        "pillow>=10",
        "pylance>=14",
        "pytest>=8.2",
        "pytest-randomly>=3.15",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ros-test-msgs>=2.0,<2.1",
        "ruff>=0.8",
        "selenium>=4.20",
        "setuptools>=64",
    ],
}

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Language-conditioned policies for robot arms: ROS 2 nodes, simulation, training and evaluation.",
    license="Apache-2.0",
    author="polyarm maintainers",
    author_email="maintainers@polyarm.example",
    python_requires=">=3.11",
    packages=find_packages(
        include=[f"{root}{tail}" for root in ("policies", "representation", "ros_nodes", "sim") for tail in ("", ".*")]
    ),
    package_data={
        "policies": ["robots/**/*.xml", "robots/**/*.yaml", "checkpoints/**/*"],
        "sim": ["**/*.xml", "**/*.html", "**/*.css", "**/*.js", "**/*.json"],
        "representation": ["**/*.json"],
        "ros_nodes": ["config/*", "status_page/page/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{PACKAGE}/rviz", sorted(glob("launch/rviz/*"))),
        (f"share/{PACKAGE}/foxglove", sorted(glob("launch/foxglove/*"))),
        (f"share/{PACKAGE}/config", sorted(glob("ros_nodes/config/*"))),
    ],
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={"console_scripts": [f"{node} = ros_nodes.{node}:main" for node in NODES]},
    zip_safe=False,
)
