"""What is wrong with an environment, a dataset or a run: one file for each kind, none of which changes anything."""
