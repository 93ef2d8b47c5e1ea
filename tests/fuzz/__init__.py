"""Fuzzing: every parser that takes bytes from outside, one input after the other, in a child."""
