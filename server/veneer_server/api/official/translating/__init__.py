"""Other spellings of what a request can ask for, and what they become. Pure functions."""
