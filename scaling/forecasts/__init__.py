"""What a run will cost before it runs: seconds, FLOPs and bytes, learned from the runs that were timed."""
