"""The gateway: what people and programs reach over HTTP.

It reads the views of its machine and turns every change into a command; it owns no state but keys,
certificates and the list of revoked tokens.
"""
