"""When runs begin to generalize and to memorize, and how those times and capacities scale."""
