"""What `scaling.audit` does: the memorization instruments on a model or samples that somebody else made."""
