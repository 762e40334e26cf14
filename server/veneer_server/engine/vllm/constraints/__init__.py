"""What an answer must fit: checked before the engine gets it, and bounded."""
