"""NAESB REQ.21 ESPI QualityOfReading in the words of its schema.

Those alone that IEC 61968-9 has no code for, or only one that says less.
"""

WORDS = {  # as docs/spec/green-button.md has them in a record → what the schema calls it
    "espi:13": "mixed",
    "espi:14": "raw: not validated",
    "espi:15": "normalized for weather",
    "espi:16": "other",
    "espi:17": "validated, possibly edited or estimated",
    "0.10.1": "verified: failed a check, but is actual usage",
}
