"""The real servers as child processes on loopback: `gridseal servers` (docs/servers.md).

One file per server says how it is configured, started and proved to be ours; `connect.read` tells
adapters where each one is and with what to enter.
"""
