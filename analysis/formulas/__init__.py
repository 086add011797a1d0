"""Laws as pure functions with metadata, a family a file; the register is analysis/laws.py."""
