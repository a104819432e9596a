"""Episode data on disk: LeRobot datasets (format v3.0 read and written, v2.1 read), and ROS 2 bags.

Begin with `lerobot_dataset.py` (`LeRobotDataset`: read) and `lerobot_writer.py` (`LeRobotWriter`: record). Recordings
of ROS 2 (MCAP bags) are read by `bag_reader.py` and become datasets by `python -m policies.data.convert`.

- `lerobot_format.py`: what `meta/info.json` says: features, path templates, versions; checked.
- `episode_index.py`: where each episode's rows and frames are; `episode_recorder.py`: one episode while it is recorded.
- `image_encoder.py`: one image feature into its video, in a thread of its own.
- `parquet_columns.py`: rows of numbers; `video.py`: colour videos (H.264); `depth.py`: lossless depth (0.1 mm).
- `statistics.py`: minimum, maximum, mean, deviation and quantiles per feature.
- `checksums.py`: SHA-256 of every file, to tell a damaged copy.
- `untrusted_files.py`, `array_files.py`: size caps and path checks under everything that is read.
- `atomic_files.py`: whole files or none.
- `recover_bag.py`: makes a bag of one whose recorder was killed.
- `bag_writer.py`: a bag that survives a kill; `bag_recorder.py`: the thread that writes it and watches the disk.
- `frames.py`: `Frames`, pictures and what is known of each, for pretraining; `batches.py`: which of them a run visits;
  `augmentations.py`: random changes of pictures.
- `clips.py`: clips of episodes, and the sentences that narrate their steps; `clouds.py`: clouds that frames carry;
  `back_projection.py`: clouds of depth pictures; `shapes.py`: clouds of eight shapes, made up.
- `bag_messages.py`: serialised messages to objects; `camera_messages.py`: those of cameras to arrays;
  `bag_pictures.py`: what a camera saw in a bag; `episode_marks.py`: where the episodes of a recording are.
"""
