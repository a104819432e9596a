"""Which encoder to take for a task: scores without training, and one protocol of fine-tuning for all.

`python -m representation.select` puts all scores of all encoders into one table; `python -m representation.benchmark`
fine-tunes each of them by the same recipe.

- `tmi.py`: how far the features of a class are spread. `ped.py`: features after the classes pushed each other apart.
- `logme.py`, `sfda.py`, `nleep.py`, `hscore.py`: how well features tell classes apart.
- `ranking.py`: all of them, for many encoders, with what they cost and how sure they are; `rank_agreement.py`: how well
  a ranking agrees with the truth, which `fine_tuning.py` finds.
- `benchx/`: classification, segmentation and scene reports of every encoder, with significance over seeds.
"""
