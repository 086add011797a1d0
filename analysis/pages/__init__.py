"""The sections of the report: text and tables as HTML."""
