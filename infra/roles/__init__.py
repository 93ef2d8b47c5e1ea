"""The platform as processes of their own, over topics (ARCHITECTURE §1, docs/decisions/0017, 0018)."""
