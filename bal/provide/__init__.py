"""Providing: who may read what, and how queries, pages and refusals are written. No HTTP here."""
