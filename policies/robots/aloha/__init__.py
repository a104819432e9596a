"""ALOHA: `aloha.py` (limits, home, workspaces), `vx300s.xml` (one arm), `aloha.xml` (where the two stand)."""
