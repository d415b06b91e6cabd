"""The command line: one file per verb, and `up`, which supervises every process of one machine.

Verbs are found by name and imported when they run, so that `mosaicfs --help` and the quick
questions stay quick. What people see goes through `cli.output`, how errors end through `cli.main`.
"""
