"""A policy on another machine: `python -m policies.server` there, `load_policy("ws://host:port")` on the robot.

Read in this order: `frames.py` (bytes of one message, and their caps), `messages.py` (what requests and replies say),
`session.py` (the server's side of one connection), `serving.py` (the socket: token, version, TLS), `client.py`
(`RemotePolicy`). Nothing is unpickled; what comes from the network is checked before memory is spent on it.
"""
