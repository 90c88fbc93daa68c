"""The shell around the decision core: what runs nodes and carries out commands."""
