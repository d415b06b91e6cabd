"""What runs on every machine: finds files, and tells the log.

crawl and watch find differences between disk and state, findings write them to state and outbox in
one transaction, drain carries the outbox to the log. `service.run` is all of it.
"""
