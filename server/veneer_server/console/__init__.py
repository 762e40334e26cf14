"""The console: pages for people, in a browser, about what this server does and knows."""
