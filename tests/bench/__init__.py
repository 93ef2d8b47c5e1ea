"""`make bench`: what the platform costs, as ratios taken in one run (docs/benchmarks.md)."""
