"""store: certified records by shard and day, and which version of a slot counts.

Pure: `segment` turns rows into bytes and finds them again, `index_map` leads from a log index to
the segment's place, `versions` resolves slots. The database is `infra/sqlite_customer_db.py`.
"""
