"""What people see who open the server in a browser, and the document behind it."""
