"""Who changed what: entries that nobody can change afterwards without it being seen."""
