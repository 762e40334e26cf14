"""What the rows of a training file mean: checked, made into tokens, and held out."""
