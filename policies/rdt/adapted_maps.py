"""Where low-rank adapters go in an RDT network: every linear map of its blocks, its head and its adaptors.

The embedders of step and frequency, the position tables, and an adaptor that is a single map stay as they are.
"""

from __future__ import annotations

TARGETS = (
    r"model\.blocks\.\d+\.(attn\.(qkv|proj)|cross_attn\.(q|kv|proj)|ffn\.(fc1|fc2))"
    r"|model\.final_layer\.ffn_final\.(fc1|fc2)"
    r"|(lang|img|state)_adaptor\.\d*[02468]"
)
