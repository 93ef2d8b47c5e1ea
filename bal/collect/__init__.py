"""Collect: what is refused before the bus, and what the platform answers at the intake."""
