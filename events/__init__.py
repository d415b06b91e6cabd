"""The vocabulary of MosaicFS and the two ways to the log: append and consume.

Everything that happens is one of the event types in `events.vocabulary`; everything that people ask
for is one of the commands in `events.commands`. `decide` turns a command into events, `fold` turns
events into documents; both are pure. `append` is the only module that writes to a stream, `consume`
the only one that reads one. Nothing here knows a view, a mount or a page.
"""
