"""Who sends the requests: processes of their own."""
