"""Files of clients, and files that the server makes for them: rows in SQL, bytes on disk."""
