"""Blockchain access layer: from a raw message to a certified, stored and provided reading.

No socket, no clock, no randomness and no database client in here; they are handed in
through `bal.ports`. `bal/pipeline.py` names the stages in order.
"""
