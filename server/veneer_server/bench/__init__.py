"""The goals G1-G12, measured side by side against the peers on this machine."""
