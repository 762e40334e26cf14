"""How much may be used per minute and at the same time, and the headers that say so."""
