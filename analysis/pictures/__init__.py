"""Which figures a report shows, from which rows, with captions."""
