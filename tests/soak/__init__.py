"""``make soak``: clients, changes and faults for minutes, then a check of what all wrote down."""
