"""One job while it is worked on: the trainer's process, what it says, and what comes of it."""
