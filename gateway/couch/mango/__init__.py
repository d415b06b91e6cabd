"""Mango: CouchDB's query language. One meaning, two evaluators.

`selector` evaluates a selector on a document and is the meaning; `sql` turns one into conditions on
the view that let at least everything through that matches, so that indexes find the candidates. A
property test draws selectors and documents and demands that both agree.
"""
