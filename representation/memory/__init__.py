"""What the robot has seen: storing it, finding it again, tracing it to where it came from.

`python -m representation.memory VERB`; docs/memory.md tells how to use it.

- `schema.py`: what a row is, and which columns the vectors of an encoder take.
- `episode_memory.py`: the memory, on LanceDB; `store.py`: in a directory, an object store, or with a server.
  `filters.py`: which rows; `search.py`: which vectors are near; `export.py`: parquet files.
- `sources.py`: rows and vectors of datasets; `queries.py`: vectors of pictures, texts and JSON; `pictures.py` and
  `hits_page.py`: what was found, to look at; `live_memory.py`: what `memory_node` wires.
- `binary_frames.py`: frames that are kept as bits, repaired and told from what was not seen before.
- `subjects.py`: single objects, known again from elsewhere, by codes of `pretraining/customcontrast/`; a command.
- `mbat_vsa.py`: vectors of any JSON, without training. Choose it to find a state or a task again.
- `origin_identification/`: the frame that an edited frame was made from. Choose it where pictures are restyled,
  compressed or translated, and labels, episodes or leaks between sets are to be found again.
- `grounded_language/`: a few symbols for each picture, invented by two networks that need them to understand each
  other. Choose it where a key is wanted that people can read, and that is searched by: `3-7-*-*`.
"""
