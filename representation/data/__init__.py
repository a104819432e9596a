"""Episode data on disk: LeRobot datasets (format v3.0 read and written, v2.1 read).

Begin with `lerobot_dataset.py` (`LeRobotDataset`: read) and `lerobot_writer.py` (`LeRobotWriter`: record).

- `lerobot_format.py`: what `meta/info.json` says: features, path templates, versions; checked.
- `video.py`: colour videos (H.264); `depth.py`: lossless depth videos (FFV1, 0.1 mm).
- `statistics.py`: minimum, maximum, mean, deviation and quantiles per feature.
- `checksums.py`: SHA-256 of every file, to tell a damaged copy.
- `untrusted_files.py`: size caps and path checks under everything that is read.
"""
