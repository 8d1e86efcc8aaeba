"""What this machine has, what is missing, what fits, and whether nano gets it right here."""
