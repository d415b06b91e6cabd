"""The document view: all 15 document types, with CouchDB's revisions and sequence order, in SQLite."""
