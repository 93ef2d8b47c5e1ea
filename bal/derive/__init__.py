"""derive: what the log's records say together, as a function of a prefix of the log.

Pure: `local_day` says where a date begins and ends in a time zone, `fold` makes slots of a
device's rows. What is done with the slots (bytes, books, the close record) is `bal.closing`'s.
Not harmonise's: that sees one message and no history.
"""
