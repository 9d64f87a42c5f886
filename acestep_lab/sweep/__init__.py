"""Experiments of many takes: the cells of a grid as a value, made here or on many machines, kept one by one, gone on with.

`axes` and `cells` know recipes only; `record` and `existing` the library; `work` is what is done for one cell, `here` and
`cluster` who does it, `run` how far it is, `begin` the verb. `mapping` is the same road for any other work on many songs.
"""
