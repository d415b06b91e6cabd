"""The document view: all 15 document types with CouchDB's revisions and order, in SQLite."""
