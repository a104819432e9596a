"""gym-aloha's two tasks, an outside environment that is evaluated by the same commands as our own.

gym-aloha (PyPI) needs an older MuJoCo than ours, so it runs in a process, and where need be with a Python, of its own:
`environment.py` finds that Python, `server.py` is what it runs, `world.py` is the world that an evaluation drives.
`expert.py` is a scripted expert of `gym_aloha/transfer_cube`.
"""
