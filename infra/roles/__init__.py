"""The platform as processes of their own, over topics (docs/decisions/0017)."""
