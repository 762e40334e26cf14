"""Which adapters exist: names, revisions, and what each name means now."""
