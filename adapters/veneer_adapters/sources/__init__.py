"""Where adapter artifacts come from."""
