"""Folds the log into views, and keeps the only pen for each of them.

A view is a file that can be deleted: it is rebuilt from the log and comes out the same, and
`mosaicfs views verify` proves it. Readers open the view read-only and hear of changes through the
projector's socket.
"""
