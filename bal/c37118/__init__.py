"""IEEE C37.118.2: frames of phasor measurement units, read and written; no I/O, no clock.

Beside the stages: intake, harmonise and the field's concentrator all read the same frames. Nothing
here says what a value means to the platform (bal/harmonise/c37118.py does).

    frame.py      what all frames have in common: SYNC, FRAMESIZE, IDCODE, SOC, FRACSEC, CHK
    config.py     configuration 1, 2 and 3: what a data frame consists of
    data.py       data frames, by a struct that is compiled once for each configuration
    splitter.py   frames out of a stream of bytes, whatever TCP and damage did to it
    writer.py     the same frames as bytes: for the commands of a concentrator, and for tests
"""
